"""One realtime process among the others: what it writes, and whom it tells."""
