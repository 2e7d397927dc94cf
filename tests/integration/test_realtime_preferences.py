"""Preferences over HTTP: what a person is offered, what is taken and refused, and unsubscribing from mail."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from shared.core.model import Channel
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.people import Person
from shared.directory.preferences import CATEGORIES, CategoryChoice, Preferences
from shared.directory.suppression import Cause, Suppressions, digest
from shared.directory.tenants import Tenant
from shared.directory.unsubscribe import token as link_token
from tests.conftest import EmptyStore
from tests.realtime import Realtime, bearer, realtime_node

ADDRESS = "user1@example.com"
SECRET = "a secret of at least thirty-two bytes"
NIGHTS = {"windows": [{"from": "22:00", "to": "07:00"}]}
RECORDS: dict[str, Any] = {
    "comments": {"title": "Comments", "channels": {"email": True}, "digest": {"window": "1h"}},
    "billing": {"channels": {"email": True, "sms": True}},
    "security": {"title": "Security", "policy": "required", "channels": {"email": True, "push": True}},
    "tips": {"title": "tips and tricks", "policy": "opt_in"},
}


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    links: dict[str, Any] = {"email_unsubscribe_secret": SECRET, "email_unsubscribe_url": "https://notify.example.com"}
    async with realtime_node(store.url, broker.url, topic_prefix, **links) as running:
        await running.context.directory.put(Person(user_id="user1", email=ADDRESS))
        catalogues = catalogues_of(running)
        for name, record in RECORDS.items():
            await catalogues.put_category(name, Category.model_validate(record))
        yield running


@pytest_asyncio.fixture
async def without_sms(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix, carillon_without="sms") as running:
        await catalogues_of(running).put_category("billing", Category.model_validate(RECORDS["billing"]))
        yield running


def catalogues_of(node: Realtime) -> Catalogues:
    return Catalogues(node.context.store, node.context.keys)


def suppressions_of(node: Realtime) -> Suppressions:
    return Suppressions(node.context.store, node.context.keys, Channel.EMAIL, node.context.clock)


async def shown(node: Realtime, **claims: Any) -> dict[str, Any]:
    status, answer = await node.call("GET", "/v1/preferences", "user1", headers=bearer("user1", **claims))
    assert status == 200, answer
    return dict(answer)


async def choose(node: Realtime, body: Any, **claims: Any) -> dict[str, Any]:
    status, answer = await node.call("PUT", "/v1/preferences", "user1", json=body, headers=bearer("user1", **claims))
    assert status == 200, answer
    return dict(answer)


async def refused(node: Realtime, body: Any) -> list[dict[str, str]]:
    status, answer = await node.call("PUT", "/v1/preferences", "user1", json=body)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    return list(answer["error"]["fields"])


async def own(node: Realtime) -> Preferences:
    person = await node.context.directory.person("user1")
    assert person is not None
    return person.own


def offered(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in answer["offered"]}


async def test_every_category_is_offered_with_what_holds_and_who_has_decided(node: Realtime) -> None:
    answer = await shown(node)
    assert [each["title"] for each in answer["offered"]] == ["billing", "Comments", "Security", "tips and tricks"]
    assert offered(answer)["comments"] == {
        "name": "comments",
        "title": "Comments",
        "policy": "opt_out",
        "channels": {
            "realtime": {"on": True, "fixed": False, "rule": "system:default"},
            "email": {"on": True, "fixed": False, "rule": "category:comments"},
            "sms": {"on": False, "fixed": False, "rule": "system:default"},
            "push": {"on": True, "fixed": False, "rule": "system:default"},
        },
        "unsubscribed": False,
        "digest": {"choices": ["instant", "hourly", "daily", "weekly"], "chosen": None},
    }
    security = offered(answer)["security"]["channels"]
    assert {channel: one["fixed"] for channel, one in security.items()} == dict.fromkeys(security, True)
    assert not any(one["on"] for one in offered(answer)["tips"]["channels"].values())
    assert "digest" not in offered(answer)["billing"]
    rest = {name: answer[name] for name in ("categories", "quiet_hours", "snooze_until", "timezone", "rules")}
    assert rest == {
        "categories": {}, "quiet_hours": None, "snooze_until": None, "timezone": "UTC",
        "rules": dict.fromkeys(("realtime", "email", "sms", "push"), "system:default"),
    }  # fmt: skip


async def test_choices_for_categories_are_kept_and_shown(node: Realtime) -> None:
    chosen = {"billing": {"email": False}, "comments": {"digest": "daily", "push": False}, "tips": {"push": True}}
    answer = await choose(node, {"categories": chosen})
    assert answer["categories"] == chosen
    assert answer == await shown(node)
    names = offered(answer)
    assert names["billing"]["channels"]["email"] == {
        "on": False, "fixed": False, "rule": "user:preference:billing",
    }  # fmt: skip
    assert names["comments"]["digest"]["chosen"] == "daily"
    assert names["tips"]["channels"]["push"]["on"]
    # A choice that says nothing is none, and what is left out is the category's again.
    answer = await choose(node, {"categories": {"billing": {"email": None}, "tips": {"push": True}}})
    assert answer["categories"] == {"tips": {"push": True}}
    assert (await choose(node, {"categories": {}}))["categories"] == {}


async def test_clients_that_know_channels_alone_change_nothing_else(node: Realtime) -> None:
    before = await choose(
        node, {"categories": {"billing": {"email": False}}, "quiet_hours": NIGHTS, "snooze_until": 2_000_000_000}
    )
    after = await choose(node, {"realtime": True, "email": False, "sms": False, "push": True})
    unchanged = ("categories", "quiet_hours", "snooze_until")
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert (after["email"], after["rules"]["email"]) == (False, "user:preference")
    # All that was shown may be sent back, and a channel that is left out is the directory's again.
    assert await choose(node, after) == after
    assert (await choose(node, {}))["rules"]["email"] == "system:default"


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"categories": {"nothing": {"email": True}}}, "categories.nothing", "there is no such category"),
        ({"categories": {"billing": {"digest": "daily"}}}, "categories.billing.digest", "this category has no digest"),
        (
            {"categories": {"security": {"email": False}}},
            "categories.security.email",
            "cannot be changed, because this category is required",
        ),
        ({"categories": {"billing": {"email": "no"}}}, "categories.billing.email", "must be true or false"),
        ({"categories": {"comments": {"digest": "yearly"}}}, "categories.comments.digest", None),
        ({"quiet_hours": {"timezone": "Europe/Pari"}}, "quiet_hours.timezone", "not an IANA time zone"),
        ({"quiet_hours": {"windows": [{"from": "25:00", "to": "07:00"}]}}, "quiet_hours.windows.0.from", None),
        ({"quiet_hours": {"windows": [{"from": "22:00"}]}}, "quiet_hours.windows.0.to", "required"),
        ({"snooze_until": "tomorrow"}, "snooze_until", "must be epoch seconds or RFC 3339 with a zone"),
        ({"fax": True}, "fax", "unknown"),
    ],
)
async def test_choice_that_cannot_hold_is_refused_by_its_field(
    node: Realtime, body: Any, field: str, problem: str | None
) -> None:
    before = await choose(node, {"categories": {"billing": {"email": True}}})
    [found] = await refused(node, body)
    assert found["field"] == field
    assert problem in (None, found["problem"])
    assert await shown(node) == before


async def test_what_was_chosen_before_a_category_changed_can_be_sent_back(node: Realtime) -> None:
    chosen = {"comments": {"email": False, "digest": "daily"}, "billing": {"email": False}}
    await choose(node, {"categories": chosen})
    catalogues = catalogues_of(node)
    await catalogues.put_category("comments", Category(policy="required"))
    await catalogues.delete_category("billing")
    answer = await choose(node, {"categories": chosen})
    assert answer["categories"] == {"comments": chosen["comments"]}
    assert offered(answer)["comments"]["channels"]["email"] == {"on": True, "fixed": True, "rule": "system:default"}
    assert (await own(node)).categories["billing"] == CategoryChoice(email=False)


async def test_choices_for_categories_that_are_gone_never_fill_the_record(node: Realtime) -> None:
    gone = {f"gone{number}": CategoryChoice(email=False) for number in range(CATEGORIES)}
    await node.context.directory.choose(
        "user1", lambda _, before: before.model_copy(update={"preferences": Preferences(categories=gone)})
    )
    await choose(node, {"categories": {"billing": {"email": False}}})
    kept = (await own(node)).categories
    assert len(kept) == CATEGORIES
    assert "billing" in kept


async def test_quiet_hours_and_snooze_are_chosen_and_given_up(node: Realtime) -> None:
    directory = node.context.directory
    await directory.put(Person.model_validate({"user_id": "user1", "quiet_hours": NIGHTS, "timezone": "Asia/Tokyo"}))
    answer = await shown(node)
    assert (answer["quiet_hours"], answer["timezone"]) == (NIGHTS, "Asia/Tokyo")
    # Sent back unchanged, they are the directory's still.
    await choose(node, answer)
    later = {"windows": [{"from": "23:00", "to": "06:00"}]}
    await directory.put(Person.model_validate({"user_id": "user1", "quiet_hours": later}))
    assert (await shown(node))["quiet_hours"] == later
    mine = {"timezone": "Europe/Paris", "windows": [{"days": ["sunday"], "from": "00:00", "to": "00:00"}]}
    assert (await choose(node, {"quiet_hours": mine}))["quiet_hours"] == mine
    assert (await choose(node, {"quiet_hours": {"windows": []}}))["quiet_hours"] == {"windows": []}
    assert (await choose(node, {"quiet_hours": None}))["quiet_hours"] == later

    soon = round(time.time()) + 3600
    assert (await choose(node, {"snooze_until": soon}))["snooze_until"] == soon
    assert (await choose(node, {"snooze_until": time.time() - 1}))["snooze_until"] is None
    person = await directory.person("user1")
    assert person is not None
    assert person.snooze_until is None
    await directory.put(Person.model_validate({"user_id": "user1", "snooze_until": soon}))
    assert (await shown(node))["snooze_until"] == soon
    assert (await choose(node, {"snooze_until": time.time() - 1}))["snooze_until"] is None
    assert (await choose(node, {"snooze_until": None}))["snooze_until"] == soon


async def test_token_of_a_tenant_is_offered_the_tenants_categories(node: Realtime) -> None:
    acme = {
        "quiet_hours": NIGHTS,
        "timezone": "Europe/Rome",
        "categories": {"billing": {"policy": "required", "title": "Your bills"}, "racing": {"title": "Races"}},
    }
    await catalogues_of(node).put_tenant("acme", Tenant.model_validate(acme))
    answer = await shown(node, tenant="acme")
    names = offered(answer)
    assert (answer["quiet_hours"], answer["timezone"]) == (NIGHTS, "Europe/Rome")
    assert names["billing"]["title"] == "Your bills"
    assert names["billing"]["channels"]["sms"] == {"on": True, "fixed": True, "rule": "category:billing"}
    assert names["racing"]["channels"]["push"]["on"]
    await choose(node, {"categories": {"racing": {"push": False}}}, tenant="acme")
    assert "racing" not in offered(await shown(node, tenant="other"))
    # What is not offered is not replaced.
    assert (await choose(node, {"categories": {"billing": {"email": False}}}))["categories"] == {
        "billing": {"email": False}
    }
    assert (await shown(node, tenant="acme"))["categories"]["racing"] == {"push": False}


async def unsubscribe(node: Realtime, category: str) -> None:
    link = link_token(SECRET, digest(ADDRESS), category)
    async with node.client.post(f"{node.url}/v1/unsubscribe?token={link}") as answer:
        assert answer.status == 200


async def test_unsubscribing_by_a_mails_link_shows_and_is_taken_back_for_that_category_alone(node: Realtime) -> None:
    await choose(node, {"categories": {"billing": {"email": True}}})
    for category in ("billing", "comments", "security"):
        await unsubscribe(node, category)
    answer = await shown(node)
    assert {name: each["unsubscribed"] for name, each in offered(answer).items()} == {
        "billing": True, "comments": True,
        # Its mail comes all the same.
        "security": False, "tips": False,
    }  # fmt: skip
    assert offered(answer)["billing"]["channels"]["email"] == {
        "on": False, "fixed": False, "rule": "user:unsubscribed",
    }  # fmt: skip
    assert answer["categories"] == {"billing": {"email": False}}
    # Sending back what was shown subscribes nobody.
    answer = await choose(node, answer)
    assert offered(answer)["billing"]["unsubscribed"]
    answer = await choose(node, {"email": True, "categories": {"billing": {"email": True}, "comments": {"push": True}}})
    assert {name: each["unsubscribed"] for name, each in offered(answer).items() if each["unsubscribed"]} == {
        "comments": True
    }
    left = await suppressions_of(node).entries(digest(ADDRESS))
    assert sorted(entry.category or "" for entry in left) == ["comments", "security"]


async def test_of_an_old_unsubscription_from_everything_the_other_categories_stay(node: Realtime) -> None:
    suppressions = suppressions_of(node)
    await suppressions.add(digest(ADDRESS), Cause.UNSUBSCRIBED)
    await suppressions.add(digest(ADDRESS), Cause.COMPLAINT)
    names = offered(await choose(node, {"categories": {"billing": {"email": True}}}))
    assert [name for name, each in names.items() if each["unsubscribed"]] == ["comments", "tips"]
    left = await suppressions.entries(digest(ADDRESS))
    assert {(entry.cause, entry.category) for entry in left} == {
        (Cause.COMPLAINT, None), (Cause.UNSUBSCRIBED, "comments"), (Cause.UNSUBSCRIBED, "security"),
        (Cause.UNSUBSCRIBED, "tips"),
    }  # fmt: skip


async def test_a_channel_that_is_left_out_is_no_choice_and_what_was_chosen_for_it_stays(without_sms: Realtime) -> None:
    node = without_sms
    chosen = Preferences(sms=True, email=False, categories={"billing": CategoryChoice(sms=True)})
    directory = node.context.directory
    await directory.put(Person(user_id="user1", email=ADDRESS))
    await directory.choose("user1", lambda _, before: before.model_copy(update={"preferences": chosen}))
    answer = await shown(node)
    assert (answer["sms"], answer["rules"]["sms"]) == (False, "system:without")
    assert offered(answer)["billing"]["channels"]["sms"] == {"on": False, "fixed": False, "rule": "system:without"}
    assert (answer["email"], answer["rules"]["email"]) == (False, "user:preference")
    # The page sends back what the person has chosen for channels that are shown.
    await choose(node, {"email": True, "categories": answer["categories"]})
    assert await own(node) == Preferences(sms=True, email=True, categories={"billing": CategoryChoice(sms=True)})


async def test_a_client_that_sends_back_all_that_it_was_shown_changes_nothing_about_it(without_sms: Realtime) -> None:
    node = without_sms
    chosen = Preferences(sms=True, categories={"billing": CategoryChoice(sms=True)})
    await catalogues_of(node).put_category(
        "security", Category.model_validate({"policy": "required", "channels": {"sms": True}})
    )
    directory = node.context.directory
    await directory.put(Person(user_id="user1", email=ADDRESS))
    await directory.choose("user1", lambda _, before: before.model_copy(update={"preferences": chosen}))
    answer = await shown(node)
    categories = {
        each["name"]: {channel: said["on"] for channel, said in each["channels"].items()} for each in answer["offered"]
    }
    await choose(node, answer | {"categories": categories})
    kept = await own(node)
    assert (kept.sms, kept.categories["billing"].sms) == (True, True)
    assert kept.categories["security"].sms is None
