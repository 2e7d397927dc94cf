"""Sandbox providers: SMTP, Twilio, APNs, FCM and Web Push servers that keep what they got, in one process."""
