"""Who may do what in the store."""
