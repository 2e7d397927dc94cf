"""The router's own rows in the ledger: work that it does later, in parts, or again.

A scheduled notification, one page of a fan-out and one step of an escalation are all tasks. Like a delivery, a task is
claimed, performed once, and finished together with the rows that follow from it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.router.alerts.oncall import Chain, Step
from shared.core.channels import ROUTER_LANE
from shared.core.model import Channel, Platform, Row

# Under this name the record of an alert keeps the chain of its escalation, once for all its steps.
CHAIN = "chain"
# Under these, until when (ms) it waits before anybody is told, what keeps it from telling, and what that ends with.
WAITS, MUTED, ENDS_WITH = "waits", "muted", "mute_ends"
# And under this one, for how long an acknowledgement of it holds, in ms (``answer_alert.lua``).
ACKNOWLEDGED_FOR = "ack_for"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


def step_number(turn: int | None, round_: int) -> str:
    """Number a step of an escalation over all turns of its incident."""
    return f"{turn}.{round_}" if turn else str(round_)


class GroupTimes(_Frozen):
    """When a group of alerts is told.

    Attributes:
        wait_ms: how long the first message waits for others.
        interval_ms: how long after a message the next one comes if something is new; ``repeat_ms``, if nothing is.
        starts_ms: when its first alert began, by its publisher's word; milliseconds since 1970.
    """

    wait_ms: int
    interval_ms: int
    repeat_ms: int
    starts_ms: int | None = None


class People(_Frozen):
    """These users, by id.

    Attributes:
        regardless: on every channel that can reach them, whatever their preferences (critical alerts).
        only_push: a push to their devices of this platform and nothing else.
        round: 0, or the number of the escalation step that tells them again.
        turn: how often the incident was opened again before; None for never.
        next_level: the key of the row that tells the people after them.
        news: the number of the message that tells what is new in a group.
    """

    to: Literal["people"] = "people"
    user_ids: tuple[str, ...]
    regardless: bool = False
    only_push: Platform | None = None
    round: int = 0
    # None and not 0, so that most rows are not written longer for it.
    turn: int | None = None
    next_level: str | None = None
    news: int | None = None

    @property
    def again(self) -> str:
        """What tells the deliveries of a later step from those of the first; empty in that."""
        if self.news is not None:
            return f"@news{self.news}"
        number = step_number(self.turn, self.round)
        return "" if number == "0" else f"@{number}"


class Crowd(_Frozen):
    """The members of these groups, or everybody."""

    to: Literal["crowd"] = "crowd"
    groups: tuple[str, ...] | None = None


Audience = Annotated[People | Crowd, Field(discriminator="to")]


class Plan(_Frozen):
    """Plan a scheduled notification when its time has come, so that the preferences of that moment count.

    Attributes:
        audience: None for an alert, whose people its type decides.
        group: of an alert that is told with others.
    """

    do: Literal["plan"] = "plan"
    audience: Audience | None = None
    alert_type: str | None = None
    group: GroupTimes | None = None


class FanOut(_Frozen):
    """Plan one page of a crowd's members, and write the task for the next page.

    Attributes:
        members: the index that is read; ``group`` is checked against each member's record.
        after: the last user id of the page before.
        shared: the audience has several indexes, which may hold the same people.
    """

    do: Literal["fan_out"] = "fan_out"
    members: str
    group: str | None = None
    after: str = ""
    # None and not False, so that most rows are not written longer for it.
    shared: bool | None = None


class Escalation(_Frozen):
    """Tell the next people, unless somebody has acknowledged or resolved the alert.

    Attributes:
        since_ms: when the alert was accepted, or was due; steps count from here.
        lifetime_ms: how long the deliveries of each step are tried.
        round: the number of the step to be made now, counted from 0, in the chain that the record keeps.
        turn: how often the incident was opened again before; None for never.
        group: in the first step, of an alert that is told with others.
        steps: this step and the ones after it, in a row of version 1, whose record keeps no chain.
    """

    do: Literal["escalate"] = "escalate"
    alert_type: str
    since_ms: int
    lifetime_ms: int
    round: int
    turn: int | None = None
    steps: tuple[Step, ...] | None = None
    group: GroupTimes | None = None

    @property
    def number(self) -> str:
        """What tells this step from all others of the incident."""
        return step_number(self.turn, self.round)

    @property
    def key(self) -> str:
        """The key of the row that makes it."""
        return f"escalate:{self.number}"

    @property
    def chain(self) -> str:
        """The name under which the record keeps the chain; each turn has its own."""
        return f"{CHAIN}:{self.turn}" if self.turn else CHAIN


class Again(_Frozen):
    """Open an incident again, and begin its escalation anew; the store writes it (``answer_alert.lua``).

    Attributes:
        turn: the incident's; if that is another one by then, nothing is done.
        to: to whom it was handed on; None where an answer does not hold any more.
    """

    do: Literal["again"] = "again"
    turn: int
    to: str | None = None


class GroupNews(_Frozen):
    """Tell what is new in a group of alerts, if anything is; and tell again what is still open, from time to time.

    Attributes:
        told_ms: when the message before was sent, milliseconds since 1970.
        told_upto: the number of the last member that was told.
        number: of the message.
    """

    do: Literal["group_news"] = "group_news"
    alert_type: str
    times: GroupTimes
    told_ms: int
    told_upto: int
    number: int

    def following(self, told_ms: int, told_upto: int) -> "GroupNews":
        """Return what comes after a message that is sent now, and tells of members up to a number."""
        upto = max(self.told_upto, told_upto)
        return self.model_copy(update={"told_ms": told_ms, "told_upto": upto, "number": self.number + 1})


class TellAnswer(_Frozen):
    """Say to those who were told of an incident who has it; the store writes it (``answer_alert.lua``).

    Attributes:
        state: what was done: ``acknowledged``, ``snoozed`` or ``resolved``.
        by: the user or publisher who did it; empty for nobody in particular.
    """

    do: Literal["tell_answer"] = "tell_answer"
    state: str
    by: str = ""


class Maintain(_Frozen):
    """Let systems be silent while they are worked on.

    Attributes:
        starts_ms, ends_ms: milliseconds since 1970.
        publisher: whose alerts are silent; None is everybody's.
    """

    do: Literal["maintain"] = "maintain"
    publisher: str | None = None
    systems: tuple[str, ...]
    starts_ms: int
    ends_ms: int


class Remind(_Frozen):
    """Say once more that something is worked on soon."""

    do: Literal["remind"] = "remind"
    audience: Crowd


class Unheard(_Frozen):
    """End an incident, or its members, of whom nobody has said for long that they are still so.

    Attributes:
        after_ms: for so long.
        incident_key: by which the ledger knows it.
    """

    do: Literal["unheard"] = "unheard"
    after_ms: int
    incident_key: str


class Recheck(_Frozen):
    """Decide anew about a channel of a person that was held until now, with the facts of this moment.

    Attributes:
        lifetime_ms: how long the delivery is tried from now on, where its publisher said no deadline.
        since_ms: when the notification was to be sent; 0 is when it was accepted.
        only_push: as ``People`` has it.
        rule: who held it.
    """

    do: Literal["recheck"] = "recheck"
    user_id: str
    channel: Channel
    lifetime_ms: int
    since_ms: int = 0
    only_push: Platform | None = None
    rule: str = ""


class Fold(_Frozen):
    """Put a channel of a person into a digest.

    Attributes:
        since_ms: as ``Recheck`` has it.
        key: of the digest, beside person, category and channel.
        throttled: a throttle puts it there.
    """

    do: Literal["fold"] = "fold"
    user_id: str
    channel: Channel
    lifetime_ms: int
    since_ms: int = 0
    key: str = ""
    throttled: bool = False
    only_push: Platform | None = None
    rule: str = ""


class CloseDigest(_Frozen):
    """Close the digest whose record this stands in, and send it.

    Attributes:
        template: None is a plain list.
        number: how often its end was looked at before.
        only_push: as ``People`` has it.
    """

    do: Literal["close_digest"] = "close_digest"
    user_id: str
    channel: Channel
    lifetime_ms: int
    template: str | None = None
    number: int = 0
    only_push: Platform | None = None


_chain = TypeAdapter(Chain)


def write_chain(chain: Chain) -> str:
    """Write a chain as the record keeps it."""
    return _chain.dump_json(chain).decode()


def read_chain(text: str) -> Chain:
    """Read what ``write_chain`` wrote."""
    return _chain.validate_json(text)


What = (
    Plan
    | FanOut
    | Escalation
    | Again
    | GroupNews
    | Unheard
    | TellAnswer
    | Maintain
    | Remind
    | Recheck
    | Fold
    | CloseDigest
)


class Task(Row):
    """A row on the router's lane."""

    what: Annotated[What, Field(discriminator="do")]

    @property
    def version(self) -> int:
        """A step by its number alone came with version 2, what is held or folded with 3, later turns with 4."""
        if isinstance(self.what, Again | GroupNews | Unheard | TellAnswer | Maintain | Remind) or (
            isinstance(self.what, Escalation) and self.what.turn
        ):
            return max(4, super().version)
        if isinstance(self.what, Recheck | Fold | CloseDigest):
            return max(3, super().version)
        by_number = isinstance(self.what, Escalation) and self.what.steps is None
        return max(2, super().version) if by_number else super().version

    @property
    def lane(self) -> str:
        """The router's own."""
        return ROUTER_LANE

    @property
    def user_ids(self) -> tuple[str, ...]:
        """Whom it will tell, where it is planned for people by name, held or folded."""
        match self.what:
            case Plan(audience=People(user_ids=user_ids)):
                return user_ids
            case Recheck(user_id=user_id) | Fold(user_id=user_id) | CloseDigest(user_id=user_id):
                return (user_id,)
            case _:
                return ()
