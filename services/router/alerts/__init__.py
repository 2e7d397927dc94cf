"""Who is told of an alert, and who is next."""
