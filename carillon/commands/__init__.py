"""What people type: a module for each command of ``carillon``, and what the commands share."""
