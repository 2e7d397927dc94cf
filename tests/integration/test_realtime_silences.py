"""Silences over HTTP: who may, what is refused, and that an end lets go what was kept from telling."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.http.shapes import ListedSilence, ListedSilences
from shared.directory.people import Person
from shared.directory.rulebook import Rulebook
from shared.directory.silences import Silence
from shared.ledger.held import Muted
from tests.conftest import EmptyStore
from tests.realtime import Realtime, bearer, realtime_node

NEW: dict[str, Any] = {"matchers": ["system=db-1"], "for": "2h", "comment": "We upgrade it."}


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        await running.context.directory.put(Person(user_id="user1"))
        await running.context.directory.put(Person(user_id="boss", roles=("admin",)))
        yield running


async def added(node: Realtime, **said: Any) -> dict[str, Any]:
    status, silence = await node.call("POST", "/v1/silences", "boss", json=NEW | said)
    assert status == 201, silence
    ListedSilence.model_validate_json(json.dumps(silence), strict=True, extra="forbid")
    added: dict[str, Any] = silence
    return added


async def test_an_admin_adds_lists_and_ends_a_silence(node: Realtime) -> None:
    silence = await added(node)
    assert (silence["state"], silence["matchers"], silence["created_by"]) == ("holds", ['system="db-1"'], "boss")
    _, listed = await node.call("GET", "/v1/silences", "boss")
    ListedSilences.model_validate_json(json.dumps(listed), strict=True, extra="forbid")
    assert [each["id"] for each in listed["silences"]] == [silence["id"]]
    # The router goes by the same record.
    rulebook = Rulebook(node.context.store, node.context.keys)
    assert list(await rulebook.all(Silence)) == [silence["id"]]
    assert (await node.call("DELETE", f"/v1/silences/{silence['id']}", "boss"))[0] == 204
    # Again changes nothing.
    assert (await node.call("DELETE", f"/v1/silences/{silence['id']}", "boss"))[0] == 204
    assert (await node.call("DELETE", "/v1/silences/unknown", "boss"))[0] == 404
    assert (await node.call("GET", "/v1/silences", "boss"))[1] == {"silences": []}
    _, listed = await node.call("GET", "/v1/silences?all=true", "boss")
    assert [each["state"] for each in listed["silences"]] == ["over"]


async def test_one_that_has_not_begun_is_deleted(node: Realtime) -> None:
    silence = await added(node, starts_at="2099-01-01T00:00:00Z")
    assert silence["state"] == "pending"
    assert (await node.call("DELETE", f"/v1/silences/{silence['id']}", "boss"))[0] == 204
    assert (await node.call("GET", "/v1/silences?all=true", "boss"))[1] == {"silences": []}


async def test_its_end_lets_go_what_it_has_kept_from_telling(node: Realtime) -> None:
    silence, muted = await added(node), Muted(node.context.store, node.context.keys)
    name = f"silence:{silence['id']}"
    await muted.note([(name, "0197c5a2-7f00-7003-8000-000000000000", "escalate:0", 4_000_000_000_000)])
    await node.call("DELETE", f"/v1/silences/{silence['id']}", "boss")
    assert await node.context.store.command("EXISTS", node.context.keys.muted(name)) == 0


async def test_when_it_last_matched_is_listed(node: Realtime) -> None:
    silence, other = await added(node), await added(node)
    await node.context.store.command("HSET", f"{node.context.keys.rules('silence')}:matched", other["id"], "9" * 5000)
    await Rulebook(node.context.store, node.context.keys).note_matched(Silence, [silence["id"]])
    _, listed = await node.call("GET", "/v1/silences", "boss")
    said = {each["id"]: each.get("last_matched") for each in listed["silences"]}
    assert said[other["id"]] is None
    assert said[silence["id"]].startswith("20")


async def test_silences_are_for_admins(node: Realtime) -> None:
    silence = await added(node)
    assert (await node.call("GET", "/v1/silences", "boss", headers=bearer("boss", tenant="acme")))[0] == 404
    assert (await node.call("GET", "/v1/silences", "user1"))[0] == 404
    assert (await node.call("POST", "/v1/silences", "user1", json=NEW))[0] == 404
    assert (await node.call("DELETE", f"/v1/silences/{silence['id']}", "user1"))[0] == 404


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"matchers": []}, "matchers"),
        ({"matchers": ["system"]}, "matchers.0"),
        ({"matchers": ["a=~.*"]}, "matchers"),
        ({"for": "soon"}, "for"),
        ({"for": None, "ends_at": 1_000_000_000}, "ends_at"),
        ({"comment": ""}, "comment"),
        ({"comment": "a\nb"}, "comment"),
        ({"by": "me"}, "by"),
    ],
)
async def test_what_is_no_silence_is_refused_with_the_field(node: Realtime, said: dict[str, Any], field: str) -> None:
    body = {name: value for name, value in (NEW | said).items() if value is not None}
    status, refused = await node.call("POST", "/v1/silences", "boss", json=body)
    assert status == 400, refused
    assert [each["field"] for each in refused["error"]["fields"]] == [field]
