"""Sandbox providers: servers that speak the providers' protocols and keep what they got, in one process."""
