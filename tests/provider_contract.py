"""The provider contract: what the delivery loop relies on, as one test class that runs over every provider.

A provider's case in ``tests/integration/test_contract_<channel>.py`` subclasses ``ProviderContract`` under a name that
pytest collects, and gives it two things:

- a fixture ``rig``: a ``Rig`` around a real server that speaks the provider's protocol. ``SandboxRig`` is one around
  the sandbox, and ``open_only`` builds the provider as its service does;
- ``expected``: how a send ends for every ``Fault``. A fault that the protocol does not know is ``NotApplicable``, with
  the reason, and its test does not exist.
"""

import asyncio
import logging
import os
import stat
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from sandbox.kept import Provider as SandboxName
from sandbox.script import Rule
from sandbox.server import Sandbox
from shared.core.errors import DeliveryError, OutcomeUnknown, PermanentFailure, Reason, TemporaryFailure
from shared.core.model import State
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.provider import Provider
from shared.ledger.claims import Outcome
from shared.runtime.providers import PartsT, ProviderKind, build_providers
from tests.attempts import cancel_once, outcome, perform
from tests.waiting import eventually

RETRY_AFTER_S = 60
# Planted in titles and texts, and in what a rig's server answers. Logs and errors are searched for it.
SECRET = "planted7secret"


class Fault(StrEnum):
    """What a provider does on a bad day."""

    REFUSED_RECIPIENT = "it does not know the recipient any more"
    BAD_CONTENT = "it refuses this message"
    BAD_CREDENTIALS = "it refuses us"
    RATE_LIMITED = "it is asked too often, and does not say for how long"
    RATE_LIMITED_SECONDS = "it is asked too often, and says RETRY_AFTER_S in seconds"
    RATE_LIMITED_DATE = "it is asked too often, and says RETRY_AFTER_S as an HTTP date"
    UNAVAILABLE = "it has a problem of its own (an HTTP 503)"
    CUT_BEFORE = "the connection is cut before it has the message"
    CUT_AFTER = "the connection is cut when it has the message, before the answer"
    GARBAGE = "its answer is no answer of this protocol; it holds SECRET"
    HANG_BEFORE = "it takes nothing and never answers"
    HANG_AFTER = "it takes the message and never answers"


HANGS = (Fault.HANG_BEFORE, Fault.HANG_AFTER)
RATE_LIMITS = (Fault.RATE_LIMITED, Fault.RATE_LIMITED_SECONDS, Fault.RATE_LIMITED_DATE)


def retry_after_date() -> str:
    """The HTTP date for RATE_LIMITED_DATE."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=RETRY_AFTER_S), usegmt=True)


@dataclass(frozen=True)
class Ends:
    """How a send ends.

    Attributes:
        kind: None is success, where a fault harms nobody.
        arrives: the provider has the message all the same.
        wait_s: the wait that the error asks for if the provider names none.
    """

    kind: type[DeliveryError] | None
    reason: Reason = Reason.NONE
    arrives: bool = False
    wait_s: float | None = None


@dataclass(frozen=True)
class NotApplicable:
    """The provider cannot have this fault."""

    why: str


Expected = Mapping[Fault, Ends | NotApplicable]


class Rig(Protocol):
    """A provider's server under the test's control, and what it takes to send something to it."""

    @property
    def secrets(self) -> Sequence[str]:
        """Texts that no log and no error may hold: the address of ``attempt`` and our credentials."""
        ...

    def open_provider(self) -> Provider:
        """Build a provider that talks to the server; the test closes it."""
        ...

    def attempt(self, *, title: str, message: str) -> Attempt:
        """Describe the first attempt at a notification of its own, each time to the same address."""
        ...

    async def play(self, fault: Fault) -> None:
        """Have the server do this with the next send, and only with that one."""
        ...

    async def played(self) -> bool:
        """Tell whether the fault that was set last has been met."""
        ...

    async def arrived(self) -> list[str]:
        """Return the texts of what the server took, oldest first."""
        ...


def open_only(kind: ProviderKind[Any, PartsT], parts: PartsT) -> Provider:
    """Build a kind's preferred provider as the service would, were it the only kind."""
    return build_providers([kind], parts)[0]


@dataclass
class SandboxRig:
    """A rig around a sandbox in the test's own process.

    Attributes:
        faults: the sandbox's fault for each of ours; the three rate limits have the header added to them.
        rate_limited: the sandbox's refusal of a sender that is too fast.
    """

    sandbox: Sandbox
    name: SandboxName
    open: Callable[[], Provider]
    make_attempt: Callable[..., Attempt]
    secrets: Sequence[str]
    faults: Mapping[Fault, Mapping[str, Any]]
    rate_limited: Mapping[str, Any] = field(default_factory=lambda: {"status": 429})

    def open_provider(self) -> Provider:
        return self.open()

    def attempt(self, *, title: str, message: str) -> Attempt:
        return self.make_attempt(title=title, message=message)

    async def play(self, fault: Fault) -> None:
        self.sandbox.script.add(Rule.model_validate({"provider": self.name, "fault": self._fault(fault)}))

    def _fault(self, fault: Fault) -> Mapping[str, Any]:
        limits: dict[Fault, dict[str, Any]] = {
            Fault.RATE_LIMITED: {},
            Fault.RATE_LIMITED_SECONDS: {"headers": {"Retry-After": str(RETRY_AFTER_S)}},
            Fault.RATE_LIMITED_DATE: {"headers": {"Retry-After": retry_after_date()}},
        }
        return {**self.rate_limited, **limits[fault]} if fault in limits else self.faults[fault]

    async def played(self) -> bool:
        return bool(self.sandbox.script.rules[-1].fired)

    async def arrived(self) -> list[str]:
        return [str(entry.as_json()["body"]) for entry in self.sandbox.kept.select()]


class ProviderContract:
    """What holds for every provider."""

    expected: ClassVar[Expected]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Ask for each fault that this provider can have."""
        chosen = {"hang": HANGS, "fault": [fault for fault in Fault if fault not in HANGS]}
        for name in chosen.keys() & set(metafunc.fixturenames):
            known = [fault for fault in chosen[name] if isinstance(self.expected[fault], Ends)]
            metafunc.parametrize(name, known, ids=[fault.name for fault in known])

    @pytest.fixture
    async def provider(self, rig: Rig) -> AsyncIterator[Provider]:
        provider = rig.open_provider()
        yield provider
        await provider.close()

    def test_every_fault_has_an_answer(self) -> None:
        assert self.expected.keys() == set(Fault)

    async def test_what_is_accepted_arrives_once_and_has_a_receipt(self, rig: Rig, provider: Provider) -> None:
        attempt = rig.attempt(title="Hello", message="Good morning.")
        assert provider.handles(attempt.delivery)
        assert isinstance(await outcome(provider, attempt), Receipt)
        assert await count(rig, "Good morning.") == 1

    async def test_sends_side_by_side_arrive_once_each(self, rig: Rig, provider: Provider) -> None:
        texts = [f"number {number} of many" for number in range(30)]
        ends = await asyncio.gather(
            *(outcome(provider, rig.attempt(title="Hello", message=message)) for message in texts)
        )
        assert [end for end in ends if not isinstance(end, Receipt)] == []
        assert [await count(rig, message) for message in texts] == [1] * len(texts)

    async def test_a_fault_ends_as_it_should_and_the_next_goes_through(
        self, rig: Rig, provider: Provider, fault: Fault
    ) -> None:
        expected = self._ends(fault)
        await rig.play(fault)
        ended = await outcome(provider, rig.attempt(title="Hello", message="the unlucky one"))
        if expected.kind is None:
            assert isinstance(ended, Receipt)
        else:
            assert isinstance(ended, DeliveryError)
            assert (type(ended), ended.reason) == (expected.kind, expected.reason)
            # The code is needed to count how many others got the same answer.
            assert ended.code or not isinstance(ended, PermanentFailure)
        # No second try behind our back: an accepted message is there once.
        assert await count(rig, "the unlucky one") == int(expected.arrives)
        if isinstance(ended, TemporaryFailure):
            check_wait(fault, expected, ended)
        following = await outcome(provider, rig.attempt(title="Hello", message="the next one"))
        if fault in RATE_LIMITS and isinstance(following, TemporaryFailure):
            # A limit that was meant for all recipients may hold up the next send, too.
            assert following.reason is Reason.RATE_LIMITED
            assert timedelta(0) < (following.retry_after or timedelta(0)) <= timedelta(seconds=RETRY_AFTER_S)
        else:
            assert isinstance(following, Receipt)
        assert await count(rig, "the next one") == int(isinstance(following, Receipt))

    async def test_a_hang_ends_with_the_deadline_and_harms_no_other(
        self, rig: Rig, provider: Provider, hang: Fault
    ) -> None:
        await rig.play(hang)
        unlucky = asyncio.create_task(
            perform(provider, rig.attempt(title="Hello", message="the unlucky one")), name="unlucky"
        )
        await eventually(rig.played)
        others = await asyncio.gather(
            *(outcome(provider, rig.attempt(title="Hello", message=f"other {number}")) for number in range(5))
        )
        assert [other for other in others if not isinstance(other, Receipt)] == []
        ended = await unlucky
        expected = self._ends(hang)
        assert (ended.state, ended.reason) == (State.PENDING, expected.reason)
        # In doubt only if it may have been accepted: a send that timed out before that has sent nothing.
        assert ended.in_doubt == (expected.kind is OutcomeUnknown)
        assert await count(rig, "the unlucky one") == int(expected.arrives)
        assert isinstance(await outcome(provider, rig.attempt(title="Hello", message="the next one")), Receipt)

    async def test_nothing_personal_stands_in_a_log_or_an_error(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        told: list[str] = []
        for fault in [None, *(fault for fault in Fault if isinstance(self.expected[fault], Ends))]:
            # The loop cuts off a send that hangs. An error that the provider raises itself is checked as well.
            for end in (perform,) if fault in HANGS else (perform, outcome):
                # A provider that has been told to wait would not ask again.
                provider = rig.open_provider()
                if fault is not None:
                    await rig.play(fault)
                told.append(shown(await end(provider, rig.attempt(title=f"Title {SECRET}", message=f"Text {SECRET}"))))
                await provider.close()
        told += [f"{record.name} {record.getMessage()} {record.__dict__}" for record in caplog.records]
        leaks = {secret for secret in [SECRET, *rig.secrets] if any(secret in text for text in told)}
        assert leaks == set()

    async def test_closing_ends_everything(self, rig: Rig) -> None:
        before = (open_sockets(), running_tasks())
        provider = rig.open_provider()
        await asyncio.gather(
            *(outcome(provider, rig.attempt(title="Hello", message=f"number {number}")) for number in range(5))
        )
        for hang in HANGS:
            if isinstance(self.expected[hang], Ends):
                await rig.play(hang)
                await cancel_once(provider, rig.attempt(title="Hello", message="cut off"), rig.played)
        await provider.close()
        await eventually(lambda: (open_sockets(), running_tasks()) == before, what="sockets and tasks are gone")

    def _ends(self, fault: Fault) -> Ends:
        expected = self.expected[fault]
        assert isinstance(expected, Ends)
        return expected


def check_wait(fault: Fault, expected: Ends, error: TemporaryFailure) -> None:
    """Check that an error asks for the wait that the provider named."""
    if fault in (Fault.RATE_LIMITED_SECONDS, Fault.RATE_LIMITED_DATE):
        assert error.retry_after is not None
        # A date has whole seconds, and some time has passed.
        slack_s = 0 if fault is Fault.RATE_LIMITED_SECONDS else 5
        assert RETRY_AFTER_S - slack_s <= error.retry_after.total_seconds() <= RETRY_AFTER_S
    else:
        assert error.retry_after == (None if expected.wait_s is None else timedelta(seconds=expected.wait_s))


async def count(rig: Rig, message: str) -> int:
    """Count how often a text arrived."""
    return sum(message in text for text in await rig.arrived())


def shown(ended: Receipt | DeliveryError | Outcome) -> str:
    """Return everything that a log could say about the end of a send."""
    trace = "".join(traceback.format_exception(ended)) if isinstance(ended, Exception) else ""
    return repr(ended) + trace


def open_sockets() -> int:
    """Count the sockets that this process has open."""
    found = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - the entry of the listing itself is gone when it is looked at
        try:
            found += stat.S_ISSOCK((Path("/dev/fd") / name).stat().st_mode)
        except OSError:
            continue
    return found


def running_tasks() -> int:
    """Count the tasks of this loop."""
    return len(asyncio.all_tasks())
