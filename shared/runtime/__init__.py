"""One service process: settings, signals, start, drain and exit, and its ops endpoint."""
