"""The SMTP provider: relays, connections, the dialogue, and what answers mean."""
