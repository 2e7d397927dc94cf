"""From a publish to its receipt."""
