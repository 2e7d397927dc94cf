"""The push service: phones through APNs and FCM, browsers through Web Push."""
