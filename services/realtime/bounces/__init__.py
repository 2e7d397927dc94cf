"""Reports of bad addresses from mail providers: one file for each provider, and what is done with a report."""
