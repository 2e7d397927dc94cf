"""Types, names, limits and errors; no input or output."""
