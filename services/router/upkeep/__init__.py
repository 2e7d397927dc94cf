"""What the router does unasked: it drives what is due, and audits."""
