"""What the payload models demand, written as data for the publishers' clients and for people; no service runs this."""
