"""A process of ours: settings, signals, start, drain and exit, and its page for operators."""
