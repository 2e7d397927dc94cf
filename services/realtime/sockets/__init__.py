"""Open connections: WebSockets and event streams, from the handshake to the close."""
