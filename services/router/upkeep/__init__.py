"""Periodic work of the router: the sweeper, the gauges, the audit, and the watches over on-call entries and sources."""
