"""The SMS service: text messages through Twilio."""
