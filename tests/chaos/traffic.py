"""The publishes of a run: a pure function of the seed and a publish's number.

Promises that all effects differ. Each publish has an idempotency key, which also stands in its text. Each SMS, each
mail to an address and each alert goes to its own address. So a count of effects is a count of deliveries.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.courses import course, escalated

PEOPLE = 200

# How often each sort is published, in a hundred.
MIX: Mapping[str, int] = {"realtime": 60, "urgent": 14, "email": 11, "sms": 11, "push": 3, "alert": 1}

# How many people hear of each sort that is a category of its own. They hear of nothing else.
ATTENTIVE: Mapping[str, int] = {
    "quiet": 40, "fixed": 20, "sliding": 20, "first": 20, "dropped": 10, "delayed": 10, "gathered": 10,
}  # fmt: skip

# The sorts that a run without these services leaves out.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "realtime": ("realtime",),
    "urgent": ("realtime", "email"),
    "email": ("email",),
    "sms": ("sms",),
    "push": ("push",),
    "alert": ("realtime", "email", "sms", "push"),
    "escalation": ("realtime", "email"),
    **dict.fromkeys(ATTENTIVE, ("realtime", "email")),
}

# The share of the quiet ones that is critical, and does not wait.
_CRITICAL = 0.05

_TEXT = "Published in a chaos run under the key "


@dataclass(frozen=True, slots=True)
class Publish:
    """One publish."""

    key: str
    sort: str
    topic: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Traffic:
    """All publishes of a run.

    Attributes:
        services: the channel services that run; what needs another is not published.
        ttl_s: the deadline of every third mail and SMS, or None for none.
        mix: how often each sort is published, in any unit.
    """

    seed: int
    count: int
    services: tuple[str, ...]
    ttl_s: float | None = None
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)

    def __iter__(self) -> Iterator[Publish]:
        return (self.publish(number) for number in range(self.count))

    @property
    def sorts(self) -> list[str]:
        """The sorts that are published."""
        return [sort for sort in self.mix if set(NEEDS[sort]) <= set(self.services)]

    def publish(self, number: int) -> Publish:
        """Return one publish."""
        draw = random.Random(f"{self.seed}:{number}")  # noqa: S311 - repeatable, and no secret
        sorts = self.sorts
        (sort,) = draw.choices(sorts, [self.mix[each] for each in sorts])
        key = f"chaos-{self.seed}-{number}"
        person = f"{sort if sort in ATTENTIVE else 'person'}{draw.randrange(ATTENTIVE.get(sort, PEOPLE))}"
        topic, payload = _build(sort, number, f"{_TEXT}{key}", person)
        if sort == "quiet" and draw.random() < _CRITICAL:
            # Not by SMS, which such people have switched off: every line of the run ends in the same way.
            payload |= {"priority": "critical", "channels": ["realtime", "email", "push"]}
        if self.ttl_s is not None and sort in ("email", "sms") and number % 3 == 0:
            payload = {**payload, "ttl_s": self.ttl_s}
        return Publish(key, sort, topic, payload)

    def people(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield topic and payload of every record that the directory needs before the first publish."""
        for sort, count in {"person": PEOPLE, **ATTENTIVE}.items():
            if sort == "person" or sort in self.sorts:
                for number in range(count):
                    yield f"directory/user/{sort}{number}", self.person(f"{sort}{number}")
        if "alert" in self.sorts:
            yield from self._on_call()
        if "escalation" in self.sorts:
            yield from self._escalated()

    def _on_call(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for number in self._numbers("alert"):
            on_call = f"oncall{number}"
            record = {
                "email": f"{on_call}@example.com",
                "phone": _phone(13, number),
                "devices": [{"platform": "ios", "token": _apple_token(number, "b")}],
            }
            yield f"directory/user/{on_call}", record
            # One step: an escalation that waits for minutes would keep every run open for as long.
            escalation = [{"after_s": 0, "notify": ["oncall"]}]
            yield f"directory/oncall/trouble{number}", {"users": [on_call], "escalation": escalation}

    def person(self, user_id: str) -> dict[str, Any]:
        """Return the record of somebody who hears of notifications."""
        devices = [{"platform": "android", "token": f"device-{user_id}"}] if "push" in self.services else []
        return {"email": f"{user_id}@example.com", "devices": devices}

    def _escalated(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield two people for each alert that escalates, in two layers, who hear of nothing else."""
        for number in self._numbers("escalation"):
            people = escalated(number)
            for place, user_id in enumerate(people):
                record: dict[str, Any] = {"email": f"{user_id}@example.com"}
                if "push" in self.services:
                    record["devices"] = [{"platform": "ios", "token": _apple_token(2 * number + place, "c")}]
                if "sms" in self.services:
                    record["phone"] = phone_of_escalated(number, place)
                yield f"directory/user/{user_id}", record
            layers = [{"users": [user_id], "rotation": "weekly", "start": "2026-01-05"} for user_id in people]
            entry = {"layers": layers, "policy": course(self.seed, number, self.services).policy}
            yield f"directory/oncall/escalation{number}", entry

    def _numbers(self, sort: str) -> Sequence[int]:
        return [number for number in range(self.count) if self.publish(number).sort == sort]


def key_in(text: str) -> str | None:
    """Return the key that a notification's text names, None when it is none of a run's."""
    return text.removeprefix(_TEXT) if text.startswith(_TEXT) else None


def _build(sort: str, number: int, text: str, person: str) -> tuple[str, dict[str, Any]]:
    match sort:
        case "realtime":
            return f"notifications/realtime/user/{person}", {"message": text}
        case "urgent":
            return f"notifications/realtime/user/{person}", {"message": text, "priority": "high"}
        case "email":
            payload = {"to": f"address{number}@example.com", "subject": "Chaos", "body": text}
            return "notifications/email/send", payload
        case "sms":
            return "notifications/sms/send", {"phone": _phone(12, number), "message": text}
        case "push":
            push = {"message": text, "title": "Chaos", "tokens": [_apple_token(number, "a")]}
            return "notifications/push/mobile/ios", push
        case _ if sort in ATTENTIVE:
            return f"notifications/realtime/user/{person}", {"message": text, "category": sort}
        case "escalation":
            return f"notifications/alerts/critical/escalation{number}", {"message": text, "source": "chaos"}
        case _:
            return f"notifications/alerts/critical/trouble{number}", {"message": text, "source": "chaos"}


def phone_of_escalated(number: int, place: int) -> str:
    """Return the telephone of one of the two people whom an alert escalates to."""
    return _phone(14, 2 * number + place)


def _phone(prefix: int, number: int) -> str:
    # A French mobile number: 6, eight digits of which the first two are ours.
    return f"+336{prefix}{number:06}"


def _apple_token(number: int, letter: str) -> str:
    return f"{number:063x}{letter}"
