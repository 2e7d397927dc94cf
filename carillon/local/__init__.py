"""The whole system on one machine: servers, sandbox and services as processes, what ``carillon up`` runs."""
