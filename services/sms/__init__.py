"""The SMS service: text messages."""
