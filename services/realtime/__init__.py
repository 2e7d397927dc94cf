"""The realtime service: inboxes, the open sockets of connected users, the HTTP API and the page."""
