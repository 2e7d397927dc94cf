"""People, groups and who is on call; the rules, categories and tenants; and the addresses that get nothing."""
