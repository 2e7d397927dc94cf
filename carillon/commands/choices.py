"""The words that options take for channels and outcomes.

``--help`` reads them, so nothing that costs an import is here; a test holds them against the ledger's.
"""

from shared.core.channels import Channel

CHANNELS = tuple(each.value for each in Channel)

# Refused publishes are listed as if this were a channel.
INTAKE = "intake"

# What has become of a delivery, as a search takes it: some words stand for several states.
OUTCOMES = (
    "open", "undelivered", "pending", "sending", "delivered", "suppressed", "expired", "dead_lettered", "not_arrived",
    "complained",
)  # fmt: skip
