"""People and groups, and the addresses that get nothing."""
