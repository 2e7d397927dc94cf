"""Who may do what at the broker: one table of roles, and the configurations written from it."""
