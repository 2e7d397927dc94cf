"""Browsers, by Web Push."""
