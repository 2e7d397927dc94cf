"""Redis: one exchange per server, the names of keys, and the wait until something is stored."""
