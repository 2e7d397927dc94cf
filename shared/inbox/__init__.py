"""What a user has to read, and whether the user looks at the screen right now."""
