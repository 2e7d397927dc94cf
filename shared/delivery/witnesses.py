"""Whose fault is a refusal? What the provider lately told others decides.

If a provider answers 550 5.7.1 to nearly everybody, it refuses us. If it answers so to a few, the answer is about these
few. One answer alone shows neither. What was accepted before it shows nothing either, because every outage begins with
a first refusal. So only what happens after a refusal decides:

- *theirs*: others were accepted after it, and it was repeated;
- *ours*: enough others got the same answer, and nobody was accepted;
- *not known yet* otherwise. The delivery is tried again until it was refused ``MOST_REFUSALS`` times. Even then it is
  not judged as theirs while nearly all are refused.

Promises to keep no address, only keyed hashes that nobody can undo. It keeps at most ``KEPT`` addresses and as many
notifications. Every process judges by the answers that it got itself. A wrong clock, an old password or a blocked
network address may affect one process alone, and then the answers to other processes say nothing about it. Pure: it
neither asks nor waits.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TypeVar

from shared.core.model import (
    AppEnvironment,
    Delivery,
    EmailAddress,
    MobileToken,
    PhoneNumber,
    Platform,
    WebSubscription,
)

# If so many owners of addresses got the same answer and nobody was accepted since, the fault is ours.
ENOUGH = 5
# More are needed if somebody was accepted in the last ten minutes, because the credentials were good then. They must
# also spread over a while: a publisher may send to a list of wrong addresses between two good ones.
ENOUGH_PROVEN = 20
PROVEN_S = 600.0
LASTING_S = 2.0
# "Nearly all" are refused: at most one is accepted for so many that are refused.
ONE_IN = 10
# Refusals of one delivery after which it is judged as theirs, if nothing else decides before.
MOST_REFUSALS = 6
# If so many notifications have just begun to be refused, a refusal is not judged as theirs.
_BEGINNING = 3
# Older answers do not count.
WINDOW_S = 3600.0
# Addresses that are kept. All are read at each refusal, and so many are enough for the shares above.
KEPT = 300

_KEY = os.urandom(16)

ValueT = TypeVar("ValueT")


class Blame(StrEnum):
    """Whose fault a refusal is."""

    OURS = "ours"
    THEIRS = "theirs"
    NOT_KNOWN_YET = "not known yet"


@dataclass(frozen=True, slots=True)
class Witness:
    """One delivery, as hashes.

    Attributes:
        owner: the person whose address it is; the address where there is none. One person's devices are one witness.
    """

    address: bytes
    owner: bytes
    notification: bytes


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whose fault a refusal is.

    Attributes:
        times: how often the delivery was refused, not counting what it was told while everybody was.
        by_others: others were accepted after the first refusal, so that the address itself is at fault.
    """

    blame: Blame
    times: int
    by_others: bool = False


@dataclass(slots=True)
class _Refused:
    code: str
    owner: bytes
    notification: bytes
    first_s: float
    last_s: float


class Witnesses:
    """What one provider, or one of the servers behind it, told to whom.

    Args:
        monotonic_s: the clock.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        # By address and by notification, the latest last.
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._accepted: OrderedDict[bytes, float] = OrderedDict()
        # Notifications that nobody has been accepted for, by when the first was refused; and the others.
        self._refused_notifications: OrderedDict[bytes, float] = OrderedDict()
        self._accepted_notifications: OrderedDict[bytes, float] = OrderedDict()
        self._last_accepted_s: float | None = None
        self._cleared_s = float("-inf")
        self._against_us = False
        # Everybody was refused together, and none of them has been accepted since.
        self._on_trial = False

    @property
    def against_us(self) -> bool:
        """Whether the provider refuses us, as far as we know."""
        return self._against_us

    def knows(self, witness: Witness) -> bool:
        """Tell whether it was refused before, so that asking for it again tells less than asking for another."""
        return witness.address in self._refused or witness.notification in self._refused_notifications

    def accepted(self, witness: Witness) -> None:
        """Take note of what was accepted."""
        now_s = self._last_accepted_s = self._monotonic_s()
        self._against_us = False
        was_refused = self._refused.pop(witness.address, None) is not None
        self._refused_notifications.pop(witness.notification, None)
        if was_refused and self._on_trial:
            # Refused when everybody was, and accepted now: the fault was ours, and what the others were told says
            # nothing about them.
            self._refused.clear()
            self._refused_notifications.clear()
            self._on_trial, self._cleared_s = False, now_s
        _keep(self._accepted, witness.address, now_s)
        _keep(self._accepted_notifications, witness.notification, now_s)

    def refused(self, witness: Witness, code: str, times: int = 0, since_s: float = 0.0) -> Judgement:
        """Take note of a refusal for good, and judge it.

        Args:
            code: the provider's word for it.
            times: how often the same delivery was refused before, by whichever process.
            since_s: how long ago that was first.
        """
        now_s = self._monotonic_s()
        first_s = now_s - since_s if times else now_s
        if first_s < self._cleared_s:
            times, first_s = 0, now_s
        times += 1
        first_s = min(first_s, self._note(witness, code, now_s).first_s)
        begun = self._begun(code, now_s)
        if self._is_contradicted(witness, code, first_s, now_s, begun):
            return Judgement(Blame.THEIRS, times, by_others=True)
        if self._is_enough(begun, now_s):
            self._against_us = self._on_trial = True
        if self._against_us:
            return Judgement(Blame.OURS, times)
        if times >= MOST_REFUSALS and not self._is_nearly_everybody(code, first_s, now_s):
            return Judgement(Blame.THEIRS, times)
        return Judgement(Blame.NOT_KNOWN_YET, times)

    def _note(self, witness: Witness, code: str, now_s: float) -> _Refused:
        found = self._refused.get(witness.address)
        if found is None or found.code != code or now_s - found.last_s > WINDOW_S:
            found = _Refused(code, witness.owner, witness.notification, now_s, now_s)
        found.last_s = now_s
        _keep(self._refused, witness.address, found)
        if witness.notification not in self._accepted_notifications:
            said_s = self._refused_notifications.get(witness.notification, now_s)
            _keep(self._refused_notifications, witness.notification, said_s)
        return found

    def _is_contradicted(
        self, witness: Witness, code: str, first_s: float, now_s: float, begun: list[_Refused]
    ) -> bool:
        """Tell whether others were accepted since this address, or everybody of this notification, has been refused.

        At least as many as were refused: of fewer nobody knows, because a relay that is getting worse looks the same.
        """
        if first_s == now_s or len({each.notification for each in begun}) >= _BEGINNING:
            return False
        accepted = _after(self._accepted, first_s)
        if accepted and accepted >= len(self._same(code, first_s)):
            return True
        said_s = self._refused_notifications.get(witness.notification)
        if said_s is None:
            return False
        refused = {each.notification for each in self._same(code, said_s)} & self._refused_notifications.keys()
        accepted = _after(self._accepted_notifications, said_s)
        return bool(accepted) and accepted >= len(refused)

    def _begun(self, code: str, now_s: float) -> list[_Refused]:
        """Return who was told so for the first time after the last one was accepted.

        Who had been told so before that is no witness against us; nor are the others to whom the same text goes.
        """
        since_s = now_s - WINDOW_S if self._last_accepted_s is None else self._last_accepted_s
        return [
            each
            for each in self._same(code, since_s)
            if each.first_s >= since_s and self._refused_notifications.get(each.notification, since_s) >= since_s
        ]

    def _same(self, code: str, since_s: float) -> list[_Refused]:
        found = []
        for each in reversed(self._refused.values()):
            if each.last_s < since_s:
                break
            if each.code == code:
                found.append(each)
        return found

    def _is_enough(self, begun: list[_Refused], now_s: float) -> bool:
        owners = len({each.owner for each in begun})
        if self._last_accepted_s is None or now_s - self._last_accepted_s > PROVEN_S:
            return owners >= ENOUGH
        return owners >= ENOUGH_PROVEN and now_s - self._last_accepted_s >= LASTING_S

    def _is_nearly_everybody(self, code: str, first_s: float, now_s: float) -> bool:
        since_s = max(first_s, now_s - WINDOW_S)
        owners = len({each.owner for each in self._same(code, since_s)})
        return owners >= ENOUGH and owners >= ONE_IN * _after(self._accepted, since_s)


def witness_of(delivery: Delivery, notification_id: str) -> Witness | None:
    """Return the hashes by which a delivery is remembered; None where nobody could refuse it.

    Args:
        notification_id: of the whole, where a fan-out stands in parts: they are one text.
    """
    match delivery.address:
        case EmailAddress(email=text):
            text = text.casefold()
        case PhoneNumber(phone=text) | MobileToken(token=text) | WebSubscription(endpoint=text):
            pass
        case _:
            return None
    address = _hashed(text)
    owner = _hashed(delivery.recipient) if delivery.recipient else address
    return Witness(address, owner, _hashed(notification_id))


def peer_of(delivery: Delivery) -> str:
    """Name the server that answers for an address, where a provider stands for several.

    What one push service, or one of Apple's two environments, thinks of us says nothing about another one.
    """
    match delivery.address:
        case WebSubscription(endpoint=endpoint):
            # Cut out, not parsed: what is no URL is for the provider to refuse.
            return endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()[:255]
        case MobileToken(platform=Platform.IOS, environment=environment):
            return (environment or AppEnvironment.PRODUCTION).value
        case _:
            return ""


def _hashed(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=8).digest()


def _keep(kept: OrderedDict[bytes, ValueT], name: bytes, value: ValueT) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > KEPT:
        kept.popitem(last=False)


def _after(kept: OrderedDict[bytes, float], moment_s: float) -> int:
    """Count those that came later."""
    count = 0
    for at_s in reversed(kept.values()):
        if at_s <= moment_s:
            break
        count += 1
    return count
