"""The script: which faults the sandbox providers play, for whom, and how often.

Promises that a rule fires exactly as often as it says, and that rules fire in the order they came. A rule that cannot
fire as written is refused at once. A fault is what a real provider does on a bad day: it refuses, takes long, never
answers, cuts the connection, or refuses our credentials.
"""

from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PositiveInt, model_validator

from sandbox.kept import Provider

MAX_RULES = 1_000

Stage = Literal["auth", "mail", "login", "rcpt", "command", "data", "token", "request", "answer"]
"""Where in an exchange a fault sets in.

SMTP has auth, mail, rcpt, command (DATA was said, the content is not read) and data (after the final dot); login
is auth or mail, whichever comes first. FCM has token (the OAuth exchange). Every HTTP exchange has request (the
body is not read) and answer.
"""

# Faults of which there is one at a time.
_KINDS = ("status", "hang", "cut", "reply", "apns", "callback")

_STAGES_TO_NAME: dict[str, frozenset[str]] = {
    "smtp": frozenset({"auth", "mail", "rcpt", "data"}),
    "fcm": frozenset({"token", "send"}),
}


def _true_is_before(value: object) -> object:
    return "before" if value is True else value


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


class TooManyRulesError(Exception):
    """MAX_RULES rules are waiting to fire."""


class Fault(BaseModel):
    """One way to misbehave; delay_s may stand alone or come before another one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    code: int | str | None = None
    headers: dict[str, Annotated[str, BeforeValidator(_as_text)]] = {}
    body: JsonValue = None
    hang: Annotated[Literal["before", "after"] | None, BeforeValidator(_true_is_before)] = None
    cut: Literal["before", "after"] | None = None
    delay_s: Annotated[float, Field(ge=0, le=3600)] = 0
    reply: Annotated[str, Field(pattern=r"^[245]\d\d( [^\r\n]*)?$")] | None = None
    at: Literal["mail", "rcpt", "data", "auth", "token", "send"] | None = None
    apns: Literal["rst", "no_id", "no_body", "empty_data", "goaway"] | None = None
    operator: bool = False
    callback: Literal["undelivered", "failed", "none"] | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        kinds = [name for name in _KINDS if getattr(self, name) is not None]
        kinds += ["operator"] if self.operator else []
        if "status" in kinds and self.apns == "no_body":
            kinds.remove("status")
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} exclude each other")
        if not kinds and not self.delay_s:
            raise ValueError("one of status, hang, cut, delay_s, reply, apns, operator, callback is required")
        if self.status is None and (self.headers or self.body is not None):
            raise ValueError("headers and body belong to a status")
        if self.code is not None and self.status is None and self.callback in {None, "none"}:
            raise ValueError("code belongs to a status, or to a callback that tells of a failure")
        return self


class Rule(BaseModel):
    """A fault, the provider that plays it, and how often it still does."""

    model_config = ConfigDict(extra="forbid")

    provider: Provider
    to: str | None = None
    times: PositiveInt | None = 1
    fault: Fault

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        fault = self.fault
        if fault.reply is not None and self.provider != "smtp":
            raise ValueError("reply is for smtp")
        if fault.apns is not None and self.provider != "apns":
            raise ValueError("apns is for apns")
        if fault.callback is not None and self.provider != "twilio":
            raise ValueError("callback is for twilio")
        if self.provider == "smtp" and fault.status is not None and fault.status < 400:
            raise ValueError("an SMTP refusal is 400 or above")
        if fault.at is not None and fault.at not in _STAGES_TO_NAME.get(self.provider, ()):
            raise ValueError(f"{self.provider} has no stage {fault.at}")
        if self.to is not None and fault.at in {"auth", "mail", "token"}:
            raise ValueError(f"at {fault.at} the address is not known yet, so to cannot match")
        if "after" in {fault.cut, fault.hang} and fault.at not in {None, "data", "send"}:
            raise ValueError(f"at {fault.at} there is nothing to take, so there is no after")
        return self

    @property
    def stage(self) -> Stage:
        """Where in the exchange the fault sets in."""
        fault = self.fault
        early = "before" in {fault.cut, fault.hang}
        if self.provider == "smtp":
            if fault.operator and fault.at is None:
                return "login" if self.to is None else "rcpt"
            if fault.at in {"auth", "mail", "rcpt"}:
                return fault.at
            return "command" if early else "data"
        if fault.at == "token":
            return "token"
        return "request" if fault.cut == "before" else "answer"


class ScriptedRule(BaseModel):
    """A rule as GET /script shows it; one that has fired its last time stays in view until the script is cleared."""

    id: int
    rule: Rule
    fired: int = 0

    @property
    def spent(self) -> bool:
        """Whether the rule has fired as often as it may."""
        return self.rule.times is not None and self.fired >= self.rule.times

    def as_json(self) -> dict[str, object]:
        """The rule with its number and how often it fired."""
        rule = self.rule.model_dump(mode="json", exclude={"fault"})
        fault = self.rule.fault.model_dump(mode="json", exclude_defaults=True)
        return {"id": self.id, **rule, "fault": fault, "fired": self.fired}


class Script:
    """The rules of all providers."""

    def __init__(self) -> None:
        self._rules: list[ScriptedRule] = []
        self._waiting: dict[Provider, list[ScriptedRule]] = {}
        self._last_id = 0

    @property
    def rules(self) -> list[ScriptedRule]:
        """All rules, oldest first, the spent ones included."""
        return list(self._rules)

    def add(self, rule: Rule) -> ScriptedRule:
        """Append one rule.

        Raises:
            TooManyRulesError: MAX_RULES others are still to fire.
        """
        if len(self._rules) >= MAX_RULES:
            self._rules = [scripted for scripted in self._rules if not scripted.spent]
        if len(self._rules) >= MAX_RULES:
            raise TooManyRulesError
        self._last_id += 1
        scripted = ScriptedRule(id=self._last_id, rule=rule)
        self._rules.append(scripted)
        self._waiting.setdefault(rule.provider, []).append(scripted)
        return scripted

    def clear(self) -> None:
        """Forget every rule; exchanges that already play a fault go on with it."""
        self._rules.clear()
        self._waiting.clear()

    def take(self, provider: Provider, to: Collection[str], *stages: Stage) -> Fault | None:
        """The fault to play now, if any; taking it counts as firing.

        Args:
            provider: Who asks.
            to: The addresses of the exchange as far as they are known; rules for one address match only these.
            stages: Where the exchange stands.
        """
        waiting = self._waiting.get(provider)
        if not waiting:
            return None
        for scripted in waiting:
            rule = scripted.rule
            if rule.stage in stages and (rule.to is None or rule.to in to):
                scripted.fired += 1
                if scripted.spent:
                    waiting.remove(scripted)
                return rule.fault
        return None
