"""From when on something is wrong; the alerts of Prometheus go by the same figures (``deploy.monitoring.rules``)."""

# Inboxes are in our own store, so no provider's outage delays them.
REALTIME_WAITS_S = 60
CHANNEL_WAITS_S = 1800
# The router's own tasks need nobody else.
ROUTER_WAITS_S = 60
AUDITOR_SILENT_S = 300
# Reasons of dead letters that neither a recipient nor a publisher caused.
OUR_REASONS = ("internal_error", "no_provider")
# Dead letters, and what became due, of so long.
LATELY_S = 900
# So many dead letters of a channel, and such a part of what ended there, are more than bad addresses.
DEAD_LETTERS_MOST = 10
DEAD_LETTERS_PART = 0.05

# A process that starts, or loses a connection for a moment, is not ready for less than this.
NOT_READY_S = 15
