"""Person, Dead letters and Providers of the console: masked, in two steps, bounded, and in the log of changes."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from carillon.console import dead_letters
from carillon.console.backend import Backend
from carillon.console.changes import Changes, Outcome
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.model import Channel, EmailAddress, State
from shared.delivery.by_hand import ByHand, Target
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.directory.rulebook import Rulebook
from shared.directory.silences import Silence
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.claims import Outcome as Ended
from shared.ledger.dead_letters import DeadLetters
from shared.ledger.ledger import Ledger
from shared.ledger.reader import Trace
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.console import RULES, Served, serving
from tests.records import LEASE, accept, delivery

pytestmark = pytest.mark.real_store

ADDRESS, PHONE = "ada.lovelace@example.com", "+12025550188"


@pytest_asyncio.fixture
async def alone(store: EmptyStore) -> AsyncIterator[Served]:
    """A console on an empty store, without a broker."""
    async with Store(store.url) as opened, serving(Backend(opened, RULES)) as served:
        yield served


async def dead(served: Served, *addresses: str) -> list[str]:
    """Let mails end as dead letters, and return their ids."""
    ledger = Ledger(served.store, served.keys)
    ids = []
    for address in addresses:
        sent = await accept(ledger, delivery("email:0", address=EmailAddress(email=address)))
        (claim,) = await ledger.claim([(sent, "email:0")], LEASE)
        how = Ended(State.DEAD_LETTERED, Reason.REJECTED, provider="smtp", detail="550 5.7.1")
        assert await ledger.finish(claim, how) == "finished"
        ids.append(sent)
    return ids


async def state(served: Served, notification_id: str) -> State:
    (row,) = [row async for row in Trace(served.store, served.keys).rows(notification_id)]
    return row.state


async def log(served: Served) -> list[tuple[str, str, Outcome]]:
    changes, _ = await Changes(served.store, served.keys).page(20)
    return [(each.what, each.target, each.outcome) for each in changes]


async def test_a_persons_addresses_are_masked_until_an_operator_reveals_them_on_record(alone: Served) -> None:
    directory = Directory(alone.store, alone.keys)
    await directory.put(Person(user_id="ada", email=ADDRESS, phone=PHONE, name="Ada Lovelace", timezone="Europe/Paris"))
    unwanted = Suppressions(alone.store, alone.keys, Channel.EMAIL, SystemClock())
    await unwanted.add(digest(ADDRESS), Cause.BOUNCE, "smtp 5.1.1")
    viewer, operator = await alone.person("viewer"), await alone.person("operator")
    page = await viewer.get("/people/ada")
    assert page.status == 200
    for words in ("a…@example.com", "+12…88", "Europe/Paris", "nothing arrives there", "smtp 5.1.1"):
        assert words in page.words, words
    for hidden in (ADDRESS, PHONE, "Lovelace"):
        assert hidden not in page.text
    assert "Show the addresses" not in page.words
    assert (await viewer.act("/people/ada/reveal")).status == 403
    shown = await operator.act("/people/ada/reveal")
    assert (shown.status, ADDRESS in shown.text, PHONE in shown.text) == (200, True, True)
    # Once: it is not there when the page is loaded again.
    assert ADDRESS not in (await operator.get("/people/ada")).text
    assert await log(alone) == [("person.reveal", "ada", Outcome.DONE)]
    kept = await alone.store.command("XRANGE", f"{alone.keys.console}:changes", "-", "+")
    assert ADDRESS.encode() not in str(kept).encode()
    assert (await viewer.get("/people/nobody")).status == 404


async def test_dead_letters_are_listed_by_channel_and_reason_with_a_cursor(alone: Served) -> None:
    viewer = await alone.person("viewer")
    assert "No dead letters" in (await viewer.get("/dead-letters")).words
    ids = await dead(alone, *(f"user{number}@example.com" for number in range(60)))
    page = await viewer.get("/dead-letters")
    assert "60 dead letters" in page.words
    assert "The provider refuses this message. smtp · 550 5.7.1" in page.words
    assert "Replay" not in page.words
    first = {each for each in ids if each in page.text}
    after = page.text.partition("after=")[2].partition('"')[0]
    second = {each for each in ids if each in (await viewer.get(f"/dead-letters?after={after}")).text}
    assert (len(first), len(second)) == (50, 10)
    assert first | second == set(ids)
    assert "None of the newest fits" in (await viewer.get("/dead-letters?channel=sms")).words
    for query in ("channel=fax", "older=long", "after=x", "older=900d"):
        assert (await viewer.get(f"/dead-letters?{query}")).status == 400, query


async def test_a_replay_is_looked_at_first_and_then_done_in_bounded_parts(
    alone: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "AT_ONCE", 2)
    operator, responder = await alone.person("operator"), await alone.person("responder")
    ids = await dead(alone, "a@example.com", "b@example.com", "c@example.com")
    assert (await responder.get("/dead-letters/replay")).status == 403
    look = await operator.get("/dead-letters/replay?channel=email")
    assert "Replay 3 dead letters?" in look.words
    assert "tried again" in look.words
    assert {await state(alone, each) for each in ids} == {State.DEAD_LETTERED}
    until = look.text.partition('name="until" value="')[2].partition('"')[0]
    (later,) = await dead(alone, "later@example.com")
    done = await operator.act("/dead-letters/replay", channel="email", until=until)
    assert (done.status, done.headers["Location"].startswith("/dead-letters/replay?")) == (303, True)
    assert "2 replayed. There are more" in (await operator.get(done.headers["Location"])).words
    rest = await operator.act("/dead-letters/replay", channel="email", until=until)
    assert rest.headers["Location"] == "/dead-letters"
    assert [await state(alone, each) for each in (*ids, later)] == [State.PENDING] * 3 + [State.DEAD_LETTERED]
    assert (await operator.act("/dead-letters/replay", channel="email")).status == 400
    assert (await operator.get("/dead-letters/burn")).status == 404
    assert {what for what, _, _ in await log(alone)} == {"dead_letters"}


async def test_a_drop_takes_what_was_chosen_and_says_why_some_stay_dead(alone: Served) -> None:
    operator = await alone.person("operator")
    gone, kept = await dead(alone, "gone@example.com", "kept@example.com")
    query = urlencode({"id": gone})
    look = await operator.get(f"/dead-letters/drop?{query}")
    assert "Drop 1 dead letter?" in look.words
    until = look.text.partition('name="until" value="')[2].partition('"')[0]
    assert (await operator.act("/dead-letters/drop", id=gone, until=until)).status == 303
    listed = (await operator.get("/dead-letters")).text
    assert (gone in listed, kept in listed) == (False, True)
    unwanted = Suppressions(alone.store, alone.keys, Channel.EMAIL, SystemClock())
    await unwanted.add(digest("kept@example.com"), Cause.BOUNCE, "")
    assert "left dead: nothing arrives at its address" in (await operator.get("/dead-letters/replay")).words
    until = str(int(until) + 60_000)
    assert (await operator.act("/dead-letters/replay", until=until)).headers["Location"] == "/dead-letters"
    assert "Left dead: 1 (nothing arrives at its address)" in (await operator.get("/dead-letters")).words
    assert await DeadLetters(alone.store, alone.keys).count() == 1


async def test_a_provider_is_paused_with_a_reason_and_an_end_and_resumed(alone: Served) -> None:
    operator, viewer = await alone.person("operator"), await alone.person("viewer")
    page = await viewer.get("/providers")
    assert "No process of this channel is running" in page.words
    assert "Pause" not in page.words
    assert (await viewer.act("/providers/email/smtp/pause", reason="x")).status == 403
    assert (await operator.act("/providers/email/smtp/pause")).status == 400
    assert (await operator.act("/providers/email/smtp/pause", reason="x", **{"for": "900d"})).status == 400
    assert (await operator.act("/providers/realtime/all/pause", reason="x")).status == 404
    paused = await operator.act("/providers/email/smtp/pause", reason="They rotate keys", drain="1", **{"for": "2h"})
    assert paused.status == 303
    assert (await operator.act("/providers/sms/all/pause", reason="Too dear")).status == 303
    by_hand = ByHand(alone.store, alone.keys)
    assert [str(each.target) for each in await by_hand.paused()] == ["email/smtp", "sms"]
    words = (await viewer.get("/providers")).words
    for part in ("drained by hand", "by operator", "They rotate keys", "paused by hand", "Too dear"):
        assert part in words, part
    assert (await operator.act("/providers/email/smtp/resume")).status == 303
    assert (await operator.act("/providers/email/smtp/resume")).status == 409
    assert [each.target for each in await by_hand.paused()] == [Target(Channel.SMS)]
    done = [what for what, _, outcome in await log(alone) if outcome is Outcome.DONE]
    assert done == ["provider.resume", "provider.pause", "provider.pause"]


async def test_all_silences_are_listed_page_by_page(alone: Served) -> None:
    viewer, rulebook = await alone.person("viewer"), Rulebook(alone.store, alone.keys)
    ends_at = alone.console.site.now + timedelta(hours=1)
    for number in range(120):
        # Some end at the same moment.
        ends = ends_at + timedelta(hours=number // 7)
        record = Silence(matchers=(f"system=db-{number}",), comment=f"Rack {number}.", ends_at=ends)
        await rulebook.put(f"rack-{number}", record)
    seen: list[int] = []
    path = "/silences"
    while path:
        page = (await viewer.get(path)).text
        seen += map(int, re.findall(r"Rack (\d+)\.", page))
        more = re.search(r'rel="next" href="([^"]+)"', page)
        path = f"/silences{unescape(more[1])}" if more else ""
    assert sorted(seen) == list(range(120))
    assert (await viewer.get("/silences?after=soon")).status == 400
