"""Alertmanager's webhook: each alert of a message becomes one publish, which takes the way of every other."""
