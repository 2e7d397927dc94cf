"""What the ledger's words mean to people: states, reasons, rules and outcomes in a sentence each.

A word that is not here is shown as it is: a later release may have more.
"""

from collections.abc import Mapping

from shared.core.errors import Reason
from shared.core.model import State
from shared.ledger.reader import TracedRow
from shared.ledger.rows import Confirmation

# How a state looks beside its word: good, warn, bad, info or none.
TONES: Mapping[str, str] = {
    State.PENDING: "info",
    State.SENDING: "info",
    State.DELIVERED: "good",
    State.SUPPRESSED: "none",
    State.EXPIRED: "warn",
    State.DEAD_LETTERED: "bad",
}

STATES: Mapping[str, str] = {
    State.PENDING: "waiting",
    State.SENDING: "being sent",
    State.DELIVERED: "delivered",
    State.SUPPRESSED: "not sent",
    State.EXPIRED: "expired",
    State.DEAD_LETTERED: "dead letter",
}

REASONS: Mapping[str, str] = {
    Reason.TIMEOUT: "The provider did not answer in time.",
    Reason.NETWORK: "The provider could not be reached.",
    Reason.RATE_LIMITED: "The provider says that we send too fast.",
    Reason.UNAVAILABLE: "The provider is out of order.",
    Reason.MAILBOX_FULL: "The recipient's mailbox is full.",
    Reason.AUTH: "The provider does not accept our credentials.",
    Reason.QUOTA: "Our quota at the provider is used up.",
    Reason.REJECTED: "The provider refuses this message.",
    Reason.GONE: "The address or device does not exist any more.",
    Reason.TOO_LARGE: "It is too large for the provider.",
    Reason.BAD_ANSWER: "The provider's answer could not be understood.",
    Reason.LEASE_LAPSED: "The process that sent it was lost. Nobody knows whether it left.",
    Reason.INTERNAL_ERROR: "A mistake of Carillon's own.",
    Reason.NO_PROVIDER: "No provider of this channel can carry it.",
    Reason.WORKER_DIED: "The process that sent it died again and again.",
    Reason.UNREADABLE: "What the ledger holds of it is damaged.",
    Reason.OWN_LIMIT: "It waits for a free connection or for its turn.",
    Reason.PAUSED: "Somebody has paused the provider by hand.",
    Reason.EXPIRED: "Its time was over before it could be sent.",
    Reason.CANCELLED: "Its publisher has cancelled it.",
    Reason.ACKNOWLEDGED: "Somebody has acknowledged the alert before.",
    Reason.RESOLVED: "The alert was over before.",
    Reason.REASSIGNED: "The alert was given to somebody else.",
    Reason.CHANNEL_RULE: "A notification of this priority does not take this channel.",
    Reason.NO_RECIPIENT: "There was nobody to tell.",
    Reason.UNKNOWN_RECIPIENT: "The directory does not know this person.",
    Reason.PREFERENCE_OFF: "The channel is switched off for this person.",
    Reason.NO_ADDRESS: "The person has no address or device for this channel.",
    Reason.COUNTRY_NOT_ALLOWED: "SMS to this country are not allowed.",
    Reason.OPTED_OUT: "The person has unsubscribed, has complained, or has answered STOP.",
    Reason.BOUNCED: "An earlier message to this address came back.",
    Reason.RATE_CAPPED: "This number has had as many SMS as it may.",
    Reason.SEEN: "The person had read it in the inbox by then.",
    Reason.THROTTLED: "The person has had as many of these as the category allows.",
    Reason.DIGESTED: "It is told in a digest.",
    Reason.DIGEST_EMPTY: "Everything in the digest was taken back.",
    Reason.RECALLED: "Its publisher has taken it back.",
    Reason.SILENCED: "A silence keeps the alert from telling anybody.",
    Reason.INHIBITED: "Another alert that is open explains this one.",
    Reason.MAINTENANCE: "The system is under maintenance.",
    Reason.FLAPPING: "The alert begins and ends again and again.",
    Reason.GROUPED: "It is told together with other alerts.",
    "quiet_hours": "The person's quiet hours.",
    "in_doubt": "Nobody knows whether it has arrived. It is looked at again.",
    "presence": "The person is in the inbox right now.",
}

_RULES: Mapping[str, str] = {
    "user": "the person's own choice",
    "directory": "the person's entry in the directory",
    "category": "the category",
    "tenant": "the tenant",
    "silence": "the silence",
    "system": "the system's default",
    "priority": "the rule of its priority",
    "suppression": "the suppression list",
}

CALLBACKS: Mapping[str, str] = {
    "taken": "The provider says: taken.",
    "sent": "The provider says: handed on.",
    "delivered": "The provider says: arrived.",
    "failed": "The provider says: it did not arrive.",
    "complained": "Its reader called it spam.",
}
CALLBACK_TONES: Mapping[str, str] = {"delivered": "good", "failed": "bad", "complained": "bad"}

# What has become of a delivery, once its provider has said something bad of what it had taken.
AFTERWARDS: Mapping[str, str] = {"failed": "did not arrive", "complained": "called spam"}

ATTEMPTS: Mapping[str, str] = {
    "ok": "The provider took it.",
    "retry": "It failed for now, and is tried again.",
    "gone": "The address or device does not exist any more.",
    "bad": "The provider refuses it for good.",
    "refused": "One of our own rules forbids it.",
    "operator": "The provider refuses us: an operator is needed.",
    "unjudged": "It was refused, and nobody knows yet whose fault that is.",
    "unknown": "Nobody knows whether it left.",
    "error": "A mistake of Carillon's own.",
    "paused": "Nothing was sent: the provider is paused.",
    "seen": "Nothing was sent: the person had read it.",
}
ATTEMPT_TONES: Mapping[str, str] = {
    "ok": "good", "retry": "warn", "unknown": "warn", "unjudged": "warn", "paused": "info", "seen": "none",
}  # fmt: skip


def reason_words(reason: str) -> str:
    """Say in a sentence why; empty where there is no reason."""
    return REASONS.get(reason, reason.replace("_", " ")) if reason else ""


def rule_words(rule: str | None) -> str:
    """Say who decided: ``category:billing`` is "the category billing"."""
    if not rule:
        return ""
    kind, _, name = rule.partition(":")
    known = _RULES.get(kind)
    if known is None:
        return rule
    return known if not name or kind in ("user", "directory", "system") else f"{known} {name}"


def afterwards(later: Confirmation | None) -> str:
    """Say what has become of a delivery after its provider had taken it, where that is bad."""
    return AFTERWARDS.get(later.outcome, "") if later is not None else ""


def state_words(row: TracedRow) -> str:
    """Say where a row stands, as people say it."""
    word = STATES.get(row.state, row.state.value)
    if not row.recalls:
        return word
    return "taken back" if row.state is State.DELIVERED else f"recall {word}"
