"""What people type and import: the command line, the system on one machine, and the publisher's client."""
