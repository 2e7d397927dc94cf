"""The email service: mail through SMTP relays."""
