"""What every service stands on: the core (no input or output) and the broker, store and worker around it."""
