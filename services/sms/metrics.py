"""The metrics of the SMS service alone; their labels come from fixed lists."""

from prometheus_client import Counter

from services.sms.keywords import Request
from shared.ledger.confirmations import Outcome

segments = Counter("carillon_sms_segments", "Segments of the SMS that a provider took; it bills by them.", ["encoding"])
capped = Counter("carillon_sms_capped", "SMS held back by the caps, by the cap.", ["cap"])
confirmations = Counter(
    "carillon_sms_confirmations", "What became of SMS that a provider had taken, by its status callbacks.", ["outcome"]
)
inbound = Counter("carillon_sms_inbound", "SMS that people sent us, by what they asked for.", ["request"])

ENCODINGS = ("gsm7", "ucs2")
CAPS = ("number", "prefix")
REPEATED = "repeated"


def prepare() -> None:
    """Create every series at 0."""
    for counter, values in (
        (segments, ENCODINGS),
        (capped, CAPS),
        (confirmations, tuple(Outcome)),
        (inbound, (*Request, REPEATED)),
    ):
        for value in values:
            counter.labels(value)
