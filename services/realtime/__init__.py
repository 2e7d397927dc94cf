"""The realtime service: users' inboxes, the sockets of those who are connected, and the API and page around them."""
