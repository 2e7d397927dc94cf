"""What people type: the command line, the operators' console, and the system on one machine."""
