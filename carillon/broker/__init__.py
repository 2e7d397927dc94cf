"""Who may do what at the broker: a table of roles, and the configurations that are written from it."""
