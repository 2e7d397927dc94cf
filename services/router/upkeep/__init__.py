"""Periodic work of the router: the sweeper, the gauges of open work, and the audit."""
