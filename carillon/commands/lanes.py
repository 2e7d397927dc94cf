"""The words that options take for channels and queues.

``--help`` reads them, so nothing that costs an import is here; a test holds them against the ledger's.
"""

from shared.core.channels import Channel

CHANNELS = tuple(each.value for each in Channel)

# The router's own tasks wait in a queue as deliveries do.
LANES = ("router", *CHANNELS)

# Refused publishes are listed as if this were a channel.
INTAKE = "intake"
