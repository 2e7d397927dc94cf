"""Dead letters against a real Redis: found in order, reopened once and only where it makes sense, dropped for good."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from shared.core.clock import SystemClock, from_epoch_ms
from shared.core.errors import Reason
from shared.core.model import (
    Address,
    AlertDetails,
    AppEnvironment,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    MobileToken,
    PhoneNumber,
    Platform,
    Priority,
    State,
    UserInbox,
    WebSubscription,
)
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_report import Accounts
from shared.ledger.claims import Claim, Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Entry, Wanted
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRow
from shared.ledger.reader import Trace
from shared.ledger.schedule import DueRow
from shared.store.keys import SHARDS, Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import LEASE, accept, dead, delivery, end, now_ms, record_key

pytestmark = pytest.mark.real_store

FAR = from_epoch_ms(4_000_000_000_000)
KEY = {
    "p256dh": "BEl62iUYgUivxIkv69yViEuiBIa-Ib9-SkvMeAtA3LFgDzkrxZJjSgSnfckjBJuBkr3qBUYIHBQFLXYp5Nksh8U",
    "auth": 22 * "A",
}


@dataclass
class Books:
    """A ledger, a directory, and the dead letters of both."""

    store: Store
    ledger: Ledger
    directory: Directory
    letters: DeadLetters

    async def listed(self, most: int | None = None, **wanted: Any) -> list[Entry]:
        chosen = Wanted(**{"until": FAR, **wanted})
        return [entry async for page in self.letters.pages(chosen, most) for entry in page]

    async def replay(self, notification_id: str, extend: timedelta | None = None, *, dry_run: bool = False) -> Answer:
        (entry,) = await self.listed(notification_id=notification_id)
        return await self.letters.replay(entry, extend, dry_run=dry_run)

    async def swept(self) -> DueRow:
        """Take the one row that is due."""
        (due,) = (await self.ledger.schedule.sweep(10)).due
        return due

    async def claim(self, notification_id: str, key: str = "email:0") -> Claim:
        (claim,) = await self.ledger.claim([(notification_id, key)], LEASE)
        return claim

    async def accounts(self) -> Accounts:
        """Return the accounts of the email channel, which must balance."""
        audit = Audit(self.store, Keys(), 86400, timedelta(hours=1))
        report = await audit.run(timedelta(minutes=5), Depth.RECORDS)
        assert report.findings == []
        return report.accounts["email"]


@pytest_asyncio.fixture
async def books(store: EmptyStore) -> AsyncIterator[Books]:
    async with Store(store.url) as opened:
        ledger = Ledger(opened, Keys(), record_retention_s=86400)
        yield Books(opened, ledger, Directory(opened, Keys()), DeadLetters(opened, Keys()))


async def test_a_dead_letter_is_reopened_once_and_delivered_with_its_history(books: Books) -> None:
    letter = await dead(books.ledger)
    (entry,) = await books.listed()
    answers = await asyncio.gather(*(books.letters.replay(entry) for _ in range(20)))
    assert sorted(answers) == [*[Answer.ALREADY] * 19, Answer.REOPENED]
    assert await books.accounts() == Accounts(1, open=1)
    assert await books.listed() == []
    assert await books.store.command("TTL", record_key(letter)) == -1
    assert (await books.swept()).notification_id == letter
    claim = await books.claim(letter)
    assert (claim.verdict, claim.attempt, claim.token) == ("claimed", 2, 2)
    assert await books.ledger.finish(claim, Outcome(State.DELIVERED)) == "finished"
    assert await books.letters.replay(entry) is Answer.ALREADY
    assert await books.accounts() == Accounts(1, delivered=1)
    assert await books.store.command("TTL", record_key(letter)) > 0
    (row,) = [row async for row in Trace(books.store, Keys()).rows(letter)]
    assert [attempt.reason for attempt in row.attempts] == ["rejected", ""]


async def test_the_late_finish_of_an_attempt_from_before_the_replay_is_refused(books: Books) -> None:
    letter = await accept(books.ledger, delivery())
    claim = await books.claim(letter)
    await books.ledger.finish(claim, Outcome(State.DEAD_LETTERED, Reason.REJECTED))
    assert await books.replay(letter) is Answer.REOPENED
    assert await books.ledger.finish(claim, Outcome(State.DELIVERED)) == "stale"


async def test_what_dies_again_can_be_replayed_again_and_an_error_of_our_own_gets_all_its_tries(books: Books) -> None:
    letter = await dead(books.ledger, reason=Reason.INTERNAL_ERROR)
    for _ in range(3):
        assert await books.replay(letter) is Answer.REOPENED
        claim = await books.claim(letter)
        assert (claim.verdict, claim.failures) == ("claimed", 0)
        await books.ledger.finish(claim, Outcome(State.DEAD_LETTERED, Reason.INTERNAL_ERROR))
    assert await books.accounts() == Accounts(1, dead_lettered=1)


async def test_on_a_channel_that_is_left_out_it_stays_dead(books: Books) -> None:
    letter = await dead(books.ledger)
    (entry,) = await books.listed()
    letters = DeadLetters(books.store, Keys(), without=["email"])
    assert await letters.replay(entry) is Answer.NOT_SERVED
    assert await books.accounts() == Accounts(1, dead_lettered=1)
    assert [each.notification_id for each in await books.listed()] == [letter]


async def test_one_of_several_rows_is_reopened_and_the_others_stay_as_they_are(books: Books) -> None:
    letter = await accept(books.ledger, delivery("email:0"), delivery("email:1"))
    await end(books.ledger, letter, "email:0")
    await end(books.ledger, letter, "email:1", State.DEAD_LETTERED)
    assert await books.replay(letter) is Answer.REOPENED
    assert await books.accounts() == Accounts(2, delivered=1, open=1)
    assert (await books.swept()).key == "email:1"


async def test_an_expired_dead_letter_is_left_unless_it_gets_a_new_deadline(books: Books) -> None:
    letter = await dead(books.ledger)
    await past_deadline(books, letter)
    assert await books.replay(letter) is Answer.EXPIRED
    assert await books.replay(letter, timedelta(hours=1), dry_run=True) is Answer.REOPENED
    assert await books.accounts() == Accounts(1, dead_lettered=1)
    assert await books.replay(letter, timedelta(hours=1)) is Answer.REOPENED
    spec = json.loads((await books.swept()).spec)
    assert 3_500_000 < spec["expires_ms"] - now_ms() <= 3_600_000
    assert (await books.claim(letter)).verdict == "claimed"


async def past_deadline(books: Books, letter: str) -> None:
    """Write a deadline that is over into a row; waiting for a real one would be waiting."""
    status = (await books.store.command("HGET", record_key(letter), "s:email:0")).decode().split("|")
    status[8] = str(now_ms() - 1_000)
    await books.store.command("HSET", record_key(letter), "s:email:0", "|".join(status))


async def test_a_later_deadline_is_kept(books: Books) -> None:
    letter = await dead(books.ledger, delivery(lifetime_s=7200))
    assert await books.replay(letter, timedelta(hours=1)) is Answer.REOPENED
    assert json.loads((await books.swept()).spec)["expires_ms"] - now_ms() > 7_000_000


async def test_a_cancelled_notification_is_left_dead(books: Books) -> None:
    letter = await dead(books.ledger)
    await books.ledger.cancel(letter)
    assert await books.replay(letter) is Answer.CANCELLED
    assert await books.accounts() == Accounts(1, dead_lettered=1)


async def test_without_its_record_a_dead_letter_cannot_be_replayed_but_dropped(books: Books) -> None:
    letter = await dead(books.ledger)
    await books.store.command("DEL", record_key(letter))
    (entry,) = await books.listed()
    assert entry.reason is None
    assert await books.letters.replay(entry) is Answer.RECORD_EXPIRED
    assert await books.letters.drop([entry]) == 1
    assert await books.listed() == []


def person(**record: Any) -> Person:
    return Person.model_validate({"user_id": "user123", **record})


def to_person(key: str, address: Address) -> NewRow:
    return delivery(key, recipient="user123", address=address)


IOS = MobileToken(platform=Platform.IOS, token="a" * 64)
WEB = WebSubscription(endpoint="https://push.example.com/1", **KEY)
MAIL = EmailAddress(email="old@example.com", name="Old Name")
PHONE = PhoneNumber(phone="+14155550100")
IOS_DEVICE = {"platform": "ios", "token": "a" * 64}
WEB_DEVICE = {"platform": "web", "subscription": {"endpoint": "https://push.example.com/1", "keys": KEY}}
REGISTERED = {**IOS_DEVICE, "environment": "sandbox", "registered_at": "2026-01-05T09:00:00Z"}
REPLACED = IOS.model_copy(update={"environment": AppEnvironment.PRODUCTION})
INBOX = UserInbox(user_id="user123")


@pytest.mark.parametrize(
    ("key", "address", "record", "answer"),
    [
        ("email:user123", MAIL, None, Answer.UNKNOWN_RECIPIENT),
        ("email:user123", MAIL, {}, Answer.NO_ADDRESS),
        ("email:user123", MAIL, {"email": "new@example.com", "preferences": {"email": False}}, Answer.PREFERENCE_OFF),
        ("sms:user123", PHONE, {"phone": "+14155550100"}, Answer.PREFERENCE_OFF),
        ("sms:user123", PHONE, {"preferences": {"sms": True}}, Answer.NO_ADDRESS),
        ("push:user123:1", IOS, {"devices": [WEB_DEVICE]}, Answer.NO_ADDRESS),
        ("push:user123:1", WEB, {"devices": [IOS_DEVICE]}, Answer.NO_ADDRESS),
        ("push:user123:1", IOS, {"devices": [IOS_DEVICE], "preferences": {"push": False}}, Answer.PREFERENCE_OFF),
        ("realtime:user123", INBOX, None, Answer.UNKNOWN_RECIPIENT),
    ],
)
async def test_a_person_who_cannot_or_does_not_want_to_be_reached_any_more_is_left_alone(
    books: Books, key: str, address: Address, record: dict[str, Any] | None, answer: Answer
) -> None:
    if record is not None:
        await books.directory.put(person(**record))
    letter = await dead(books.ledger, to_person(key, address))
    assert await books.replay(letter) is answer
    assert len(await books.listed()) == 1


@pytest.mark.parametrize(
    ("key", "address", "record", "expected"),
    [
        ("email:user123", MAIL, {"email": "new@example.com"}, {"to": "email", "email": "new@example.com"}),
        ("email:user123", MAIL, {"email": "new@example.com", "name": "New"},
         {"to": "email", "email": "new@example.com", "name": "New"}),
        ("sms:user123", PHONE, {"phone": "+14155550199", "preferences": {"sms": True}},
         {"to": "sms", "phone": "+14155550199"}),
        ("push:user123:1", IOS, {"devices": [WEB_DEVICE, REGISTERED]},
         {"to": "device", "platform": "ios", "token": "a" * 64, "environment": "sandbox",
          "registered_ms": 1_767_603_600_000}),
        ("push:user123:1", REPLACED, {"devices": [{**REGISTERED, "environment": None}]},
         {"to": "device", "platform": "ios", "token": "a" * 64, "registered_ms": 1_767_603_600_000}),
        ("push:user123:1", WEB, {"devices": [WEB_DEVICE]}, WEB.model_dump(mode="json")),
        ("realtime:user123", INBOX, {"preferences": {"realtime": False}},
         {"to": "inbox", "user_id": "user123", "live": False}),
    ],
)  # fmt: skip
async def test_a_person_is_reached_where_the_directory_has_him_now(
    books: Books, key: str, address: Address, record: dict[str, Any], expected: dict[str, Any]
) -> None:
    await books.directory.put(person(**record))
    letter = await dead(books.ledger, to_person(key, address))
    assert await books.replay(letter) is Answer.REOPENED
    assert json.loads((await books.swept()).spec)["address"] == expected


async def test_a_critical_alert_is_replayed_whatever_the_preferences(books: Books) -> None:
    await books.directory.put(person(email="new@example.com", preferences={"email": False}))
    alert = AlertDetails(type="disk", level="critical")
    row = to_person("email:user123", MAIL)
    letter = await accept(books.ledger, row, alert=alert)
    await end(books.ledger, letter, row.row.key, State.DEAD_LETTERED, Reason.REJECTED)
    assert await books.replay(letter) is Answer.REOPENED


UNSUBSCRIBED = (Cause.UNSUBSCRIBED, "billing")


@pytest.mark.parametrize(
    ("row", "cause", "category", "answer"),
    [
        (delivery(), (Cause.BOUNCE, None), None, Answer.BOUNCED),
        (delivery(), (Cause.COMPLAINT, None), None, Answer.OPTED_OUT),
        (delivery(), UNSUBSCRIBED, "billing", Answer.OPTED_OUT),
        (delivery(), UNSUBSCRIBED, "news", Answer.REOPENED),
        (delivery(), UNSUBSCRIBED, None, Answer.REOPENED),
        (delivery(), (Cause.UNSUBSCRIBED, None), "news", Answer.OPTED_OUT),
        (delivery("sms:0", address=PHONE), (Cause.UNSUBSCRIBED, None), None, Answer.OPTED_OUT),
        (delivery("sms:0", address=PHONE), (Cause.BOUNCE, None), None, Answer.BOUNCED),
        (to_person("email:user123", MAIL), (Cause.BOUNCE, None), None, Answer.BOUNCED),
    ],
)
async def test_what_would_be_suppressed_at_once_stays_a_dead_letter_and_the_dry_run_says_so(
    books: Books, row: NewRow, cause: tuple[Cause, str | None], category: str | None, answer: Answer
) -> None:
    await books.directory.put(person(email="user@example.com"))
    assert isinstance(row.row, Delivery)
    lane, address = row.row.channel, PHONE.phone if row.row.channel is Channel.SMS else "user@example.com"
    await Suppressions(books.store, Keys(), lane, SystemClock()).add(digest(address), cause[0], category=cause[1])
    content = Content(title="Subject", message="Body", category=category)
    letter = await dead(books.ledger, NewRow(row.row.model_copy(update={"content": content})))
    assert await books.replay(letter, dry_run=True) is answer
    assert await books.replay(letter) is answer
    assert len(await books.listed()) == (0 if answer is Answer.REOPENED else 1)


async def test_a_critical_mail_is_replayed_past_a_complaint_and_not_past_a_bounce(books: Books) -> None:
    unwanted = Suppressions(books.store, Keys(), Channel.EMAIL, SystemClock())
    await unwanted.add(digest("user@example.com"), Cause.COMPLAINT)
    critical = NewRow(delivery().row.model_copy(update={"priority": Priority.CRITICAL}))
    letters = [await dead(books.ledger, critical) for _ in range(2)]
    assert await books.replay(letters[0]) is Answer.REOPENED
    await unwanted.add(digest("user@example.com"), Cause.BOUNCE)
    assert await books.replay(letters[1]) is Answer.BOUNCED


async def test_dead_letters_are_found_oldest_first_by_channel_reason_age_and_notification(books: Books) -> None:
    letters = []
    for number in range(12):
        row = delivery("sms:0" if number % 3 == 0 else "email:0")
        reason = Reason.GONE if number % 2 else Reason.REJECTED
        letters.append(await dead(books.ledger, row, reason, shard=number % SHARDS))
        await books.store.command(
            "ZADD",
            f"{Keys().shard(number % SHARDS)}:dead",
            1_000 + number,
            f"{row.row.lane}|{letters[-1]}|{row.row.key}",
        )
    found = await books.listed()
    assert [entry.notification_id for entry in found] == letters
    assert [entry.notification_id for entry in await books.listed(5)] == letters[:5]
    sms = await books.listed(lane="sms")
    assert [entry.notification_id for entry in sms] == letters[::3]
    gone = await books.listed(lane="sms", reason="gone")
    assert [(entry.notification_id, entry.reason) for entry in gone] == [(letters[3], "gone"), (letters[9], "gone")]
    old = await books.listed(until=from_epoch_ms(1_003))
    assert [entry.notification_id for entry in old] == letters[:4]
    (one,) = await books.listed(notification_id=letters[7])
    assert one.notification_id == letters[7]
    assert await books.listed(notification_id=letters[7], lane="sms") == []
    assert await books.listed(notification_id=new_notification_id()) == []
    assert await books.listed(notification_id="no-such-id") == []


async def test_more_dead_letters_of_one_millisecond_than_fit_on_a_page_are_all_found_once(books: Books) -> None:
    listed = f"{Keys().shard(3)}:dead"
    members = [f"email|{new_notification_id(3)}|email:0" for _ in range(950)]
    for member in members:
        books.store.submit("ZADD", listed, 1_000, member)
    await books.store.command("ZADD", listed, 2_000, "email|" + new_notification_id(3) + "|email:0")
    found = await books.listed()
    assert sorted(entry.member for entry in found[:-1]) == sorted(members)
    # Taking them away meanwhile neither skips nor repeats any.
    dropped = 0
    async for page in books.letters.pages(Wanted(FAR)):
        dropped += await books.letters.drop(page)
    assert dropped == 951


async def test_a_dropped_dead_letter_stays_in_its_record_and_in_the_accounts_and_is_not_replayed(books: Books) -> None:
    letter = await dead(books.ledger)
    (entry,) = await books.listed()
    assert await books.letters.drop([entry]) == 1
    assert await books.letters.drop([entry]) == 0
    assert await books.listed() == await books.listed(notification_id=letter) == []
    assert await books.letters.replay(entry) is Answer.ALREADY
    assert await books.accounts() == Accounts(1, dead_lettered=1)
    (row,) = [row async for row in Trace(books.store, Keys()).rows(letter)]
    assert (row.state, row.reason) == (State.DEAD_LETTERED, "rejected")
