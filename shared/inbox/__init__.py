"""What a user has to read, and who looks at it right now."""
