"""The push service: phones through APNs, FCM and ntfy, browsers through Web Push."""
