"""Is Carillon well: read once for the command line and the console, and said in words."""
