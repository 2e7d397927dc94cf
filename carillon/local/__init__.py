"""The whole system on one machine, as ``carillon up`` runs it: servers, sandbox and services as processes."""
