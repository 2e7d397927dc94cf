"""Templates: folders of texts in several languages, written with a publish's data for one reader at a time."""
