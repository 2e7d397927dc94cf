"""The errors of Carillon: the class tells the caller what happens next.

    CarillonError
    +- ConfigError                refuse to start, name the variable, exit status 2
    +- StoreUnavailable           Redis does not answer: nothing is acknowledged, the work is tried again
    +- BrokerUnavailable          the MQTT broker did not take the publish; a later try may succeed
    |  +- PublishRefused          the broker refuses this publish, now and later
    +- DeliveryError(reason)      one attempt failed
       +- TemporaryFailure        again, not before retry_after
       +- PermanentFailure        stop; dead letter
       |  +- RecipientGone        stop and forget this address or token
       |  +- DeliveryRefused      stop; our own rules forbid it: suppressed, not dead-lettered
       |  +- RouteUnfit           this route cannot carry it, another may; stop when every route says so
       +- ProviderMisconfigured   they refuse us, not the recipient: no attempt is used up
       +- Unjudged                refused, and nobody knows yet whose fault it is: no attempt is used up
       +- OutcomeUnknown          sent, no answer: it may have arrived

The messages of these errors are logged. They never hold an address, a token, a title or a body.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why a delivery or an attempt ended as it did. A fixed list, because it is a metric label."""

    NONE = ""
    # An attempt failed.
    TIMEOUT = "timeout"
    NETWORK = "network"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    MAILBOX_FULL = "mailbox_full"
    AUTH = "auth"
    QUOTA = "quota"
    REJECTED = "rejected"
    GONE = "gone"
    TOO_LARGE = "too_large"
    BAD_ANSWER = "bad_answer"
    LEASE_LAPSED = "lease_lapsed"
    INTERNAL_ERROR = "internal_error"
    NO_PROVIDER = "no_provider"
    WORKER_DIED = "worker_died"
    UNREADABLE = "unreadable"
    # It waited for something of ours (the pace, a free connection), and the provider was not asked.
    OWN_LIMIT = "own_limit"
    # Somebody paused every provider that could carry it, by hand.
    PAUSED = "paused"
    # A delivery was never tried, or not any more.
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    REASSIGNED = "reassigned"
    CHANNEL_RULE = "channel_rule"
    NOT_SERVED = "not_served"
    """This system does without the channel."""
    NO_RECIPIENT = "no_recipient"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    PREFERENCE_OFF = "preference_off"
    NO_ADDRESS = "no_address"
    COUNTRY_NOT_ALLOWED = "country_not_allowed"
    OPTED_OUT = "opted_out"
    BOUNCED = "bounced"
    RATE_CAPPED = "rate_capped"
    SEEN = "seen"
    THROTTLED = "throttled"
    DIGESTED = "digested"
    """It stands in a digest."""
    DIGEST_EMPTY = "digest_empty"
    RECALLED = "recalled"
    # An alert that is not told: now, or not by itself.
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    MAINTENANCE = "maintenance"
    FLAPPING = "flapping"
    GROUPED = "grouped"
    """It is told with others."""


class AttemptOutcome(StrEnum):
    """What came of an attempt, for its history, the log and metrics. A fixed list, because it is a metric label."""

    OK = "ok"
    RETRY = "retry"
    GONE = "gone"
    BAD = "bad"
    REFUSED = "refused"
    OPERATOR = "operator"
    """The provider refuses us, so that an operator is needed."""
    UNJUDGED = "unjudged"
    UNKNOWN = "unknown"
    ERROR = "error"
    """A failure of our own."""
    # None was made.
    PAUSED = "paused"
    SEEN = "seen"


# Nobody is there.
UNREACHABLE = frozenset({Reason.NETWORK, Reason.TIMEOUT})
# Reasons that show a provider is down. A limit or a full mailbox is not among them, because it is an answer.
PROVIDER_AWAY = UNREACHABLE | {Reason.UNAVAILABLE, Reason.BAD_ANSWER}


class CarillonError(Exception):
    """Anything that Carillon itself raises."""


class ConfigError(CarillonError):
    """A setting is missing, malformed or misspelt; the message names the variable, never its value."""


class StoreUnavailable(CarillonError, ConnectionError):
    """Redis did not answer; whether the last write happened is unknown, so writes must be repeatable."""


class BrokerUnavailable(CarillonError, ConnectionError):
    """The broker is down, or answered that nobody would get the publish."""


class PublishRefused(BrokerUnavailable):
    """The broker does not take this publish from us, now or later: its topic, its rules."""


class DeliveryError(CarillonError):
    """One attempt failed.

    Args:
        reason: the word for metrics, logs and the trace.
        detail: a short technical text such as a status code; no personal data.

    Attributes:
        code: the provider's own word for its refusal, the same for everybody whom it refuses for the same cause; empty
            where the provider was not asked.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.code = ""

    def said(self, code: str) -> Self:
        """Take note that the provider itself said so, and with which word."""
        self.code = code
        return self


class TemporaryFailure(DeliveryError):
    """Try again, not before ``retry_after`` when the provider named a time."""

    def __init__(self, reason: Reason, detail: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class PermanentFailure(DeliveryError):
    """No later attempt can succeed."""


class RecipientGone(PermanentFailure):
    """The address or token does not exist any more.

    Args:
        since: when the provider last found it gone, where that is not now; what was registered later is another matter.
    """

    def __init__(self, detail: str = "", *, since: datetime | None = None) -> None:
        super().__init__(Reason.GONE, detail)
        self.since = since


class DeliveryRefused(PermanentFailure):
    """Our own rules forbid this delivery (a country, an opt-out); it ends as suppressed."""


class RouteUnfit(PermanentFailure):
    """This route cannot carry this delivery (a sender, to this country); that says nothing about other deliveries.

    Another route is asked. The delivery is a dead letter once every route has said so.
    """


class ProviderMisconfigured(DeliveryError):
    """Credentials, quota or configuration: every delivery would fail, so none is counted as failed."""


class Unjudged(DeliveryError):
    """A refusal for good of which nobody knows yet whether it is about the recipient or about us.

    ``shared.delivery.witnesses`` finds out.

    Args:
        times: how often this delivery has been refused by now.
    """

    def __init__(self, reason: Reason, detail: str, times: int) -> None:
        super().__init__(reason, detail)
        self.times = times


class OutcomeUnknown(DeliveryError):
    """The provider may have taken the delivery; trying again may deliver twice."""
