"""The console's pages of incidents, on call, silences, categories, publishers and changes, on a whole system."""

import json
import uuid
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser

from carillon.local.stack import Stack
from shared.directory.rulebook import Rulebook
from shared.directory.silences import Silence
from shared.ledger.incidents import Entry, Incident, Incidents
from tests.console import Person, Served
from tests.system import System, open_system
from tests.waiting import eventually
from tests.xss_corpus import corpus

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

LADDER = {"levels": [{"notify": ["oncall"]}, {"after": "1h", "notify": ["oncall:second"]}]}


@dataclass
class Alert:
    """An open incident of a type of its own, and whom it was told to."""

    id: str
    type: str
    user: str
    console: Served

    @property
    def path(self) -> str:
        return f"/incidents/{self.id}"

    async def read(self) -> Incident:
        found = await Incidents(self.console.store, self.console.keys).get(self.id)
        assert found is not None
        return found

    async def timeline(self) -> list[Entry]:
        return await Incidents(self.console.store, self.console.keys).timeline(self.id)


async def opened(system: System, console: Served, **said: Any) -> Alert:
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    user, second = await system.person("ada"), await system.person("ben")
    await system.publish(f"directory/user/{user}", {"name": "Ada L."})
    await system.publish(f"directory/policy/{kind}", LADDER)
    layer = {"rotation": "weekly", "start": "2026-01-05", "timezone": "Europe/Paris"}
    layers = [layer | {"users": [user]}, layer | {"users": [second]}]
    await system.publish(f"directory/oncall/{kind}", {"layers": layers, "policy": kind})
    payload = {"message": "It is full.", "source": "disk-watch", "affected_systems": ["orders"], **said}
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", payload)
    assert receipt.alert_id is not None
    alert = Alert(receipt.alert_id, kind, user, console)

    async def told() -> bool:
        return any(each.what == "delivered" for each in await alert.timeline())

    await eventually(told, 30, "the first delivery")
    return alert


async def test_a_responder_answers_an_incident_in_the_console(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        alert = await opened(system, console)
        told, other = await console.newcomer("responder", alert.user), await console.newcomer("responder", "eve")
        viewer, operator = await console.person("viewer"), await console.person("operator")
        words = (await viewer.get(alert.path)).words
        assert "Nobody has it" in words
        assert "If nobody answers, level 1 is told at" in words
        assert f"Delivered to {alert.user} by realtime" in words
        assert "I take it" not in words
        assert alert.id in (await viewer.get("/incidents?show=open")).text

        refused = await other.act(f"{alert.path}/acknowledge")
        assert (refused.status, "eve is none" in refused.words) == (409, True)
        assert (await alert.read()).word == "open"
        for fields in ({"for": "32d"}, {"for": "soon"}, {}):
            assert (await told.act(f"{alert.path}/snooze", **fields)).status == 400
        assert (await told.act(f"{alert.path}/reassign", to="nobody")).status == 400
        assert (await told.act(f"{alert.path}/note", note=" ")).status == 400

        for verb, fields, word in (
            ("acknowledge", {"note": "on it"}, "acknowledged"),
            ("snooze", {"for": "1h"}, "snoozed"),
            ("reassign", {"to": f"user:{alert.user}", "note": "after all"}, "open"),
        ):
            answer = await told.act(f"{alert.path}/{verb}", **fields)
            assert (answer.status, answer.headers["Location"]) == (303, alert.path)
            assert (await alert.read()).word == word
        # An operator is as good as an admin.
        assert (await operator.act(f"{alert.path}/note", note="<b>the fan</b>\nof db-1")).status == 303
        assert (await operator.act(f"{alert.path}/resolve")).status == 303
        assert (await operator.act(f"{alert.path}/snooze", **{"for": "1h"})).status == 409
        by = [(each.what, each.said["by"]) for each in await alert.timeline() if each.said.get("from") == "console"]
        assert by == [
            ("acknowledged", alert.user),
            ("snoozed", alert.user),
            ("reassigned", alert.user),
            ("noted", "operator"),
            ("resolved", "operator"),
        ]
        shown = await viewer.get(alert.path)
        assert f"Taken by {alert.user} in the console" in shown.words
        assert "&lt;b&gt;the fan&lt;/b&gt;" in shown.text
        assert alert.id in (await viewer.get("/incidents?show=over")).text
        log = await viewer.get("/changes")
        assert {"incident.acknowledge", "incident.note", "incident.resolve"} <= set(log.words.split())
        assert "eve is none" in log.words


async def test_a_member_of_a_group_leads_to_its_group(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        kind, user = f"disk-{uuid.uuid4().hex[:8]}", await system.person("ada")
        await system.publish(f"directory/policy/{kind}", {**LADDER, "group": {"by": ["source"]}})
        await system.publish(f"directory/oncall/{kind}", {"users": [user], "policy": kind})
        alerts = [
            await system.publish(
                f"notifications/alerts/critical/{kind}",
                {"message": "It is full.", "source": "disk-watch", "dedup_key": f"{kind}-{name}"},
            )
            for name in ("orders", "billing")
        ]
        group, member = (str(each.notification_id) for each in alerts)
        viewer, operator = await console.person("viewer"), await console.person("operator")
        assert (await viewer.get(f"/incidents/{group}")).status == 200
        led = await viewer.get(f"/incidents/{member}?before=5&before=6")
        assert (led.status, led.headers["Location"].partition("?")[0]) == (303, f"/incidents/{group}")
        led = await viewer.get(f"/incidents/{member}?export=1")
        assert (led.status, led.headers["Location"]) == (303, f"/incidents/{group}?export=1")
        # What is done to the member is done to the group.
        done = await operator.act(f"/incidents/{member}/acknowledge")
        assert (done.status, done.headers["Location"]) == (303, f"/incidents/{group}")
        assert "Taken by operator" in (await viewer.get(f"/incidents/{group}")).words


async def test_an_incident_is_downloaded_as_lines_that_hold_each_other(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        alert = await opened(system, console)
        answer = await (await console.person("viewer")).get(f"{alert.path}?export=1")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert (lines[0]["id"], lines[0]["format"], lines[-1]["lines"]) == (alert.id, "carillon-incident/1", len(lines))
        assert len(lines) == len(await alert.timeline()) + 2


async def test_the_calendar_says_who_is_on_call_and_where_nobody_is(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        alert = await opened(system, console)
        kind, viewer = f"gap-{uuid.uuid4().hex[:8]}", await console.person("viewer")
        office = {"days": ["monday"], "from": "09:00", "to": "18:00"}
        layer = {"users": [alert.user], "rotation": "weekly", "start": "2026-01-05", "restrictions": [office]}
        over = {"user": alert.user, "from": "2026-12-25T00:00:00Z", "until": "2026-12-26T00:00:00Z"}
        await system.publish(f"directory/oncall/{kind}", {"layers": [layer], "overrides": [over]})
        words = (await viewer.get(f"/on-call/{kind}?from=2026-12-24")).words
        assert "21 December \N{EN DASH} 17 January 2027" in words
        assert (
            "Monday 21 Dec 00:00\N{EN DASH}09:00 Nobody 09:00\N{EN DASH}18:00 Ada L. 18:00\N{EN DASH}24:00 Nobody"
            in words
        )
        assert "Friday 25 Dec Ada L. stands in" in words
        assert "only Mon 09:00 to 18:00" in words
        assert "no phone number" in words
        assert "Ada L. 60.0" in words
        listed = (await viewer.get(f"/on-call?q={kind}")).words
        assert "Gap" in listed
        assert f"{kind}" in listed
        shown = (await viewer.get(f"/on-call/{alert.type}?zone=Europe/Paris")).words
        assert "somebody answers at all times" in shown
        nameless, other = await system.person("cleo"), f"plain-{uuid.uuid4().hex[:8]}"
        await system.publish(f"directory/oncall/{other}", {"users": [nameless]})
        assert f"{other} {nameless} further notice" in (await viewer.get(f"/on-call?q={other}")).words
        for query in ("from=tomorrow", "from=2050-01-01", "zone=Mars"):
            assert (await viewer.get(f"/on-call/{kind}?{query}")).status == 400


async def test_a_silence_is_looked_at_begun_and_ended(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        alert = await opened(system, console)
        responder, viewer = await console.person("responder"), await console.person("viewer")
        rulebook = Rulebook(console.store, console.keys)
        matcher = f"alert_type={alert.type}"
        preview = await responder.get(f"/silences?matchers={matcher}&for=2h&comment=Moving")
        assert "It would be about 1 of the" in preview.words
        assert alert.id in preview.text
        wrong = await responder.get("/silences?matchers=%7E%7E&for=soon&comment=")
        assert all(each in wrong.words for each in ("Alerts that are: at character 1", "For: ", "Why: required"))
        fields = {"matchers": matcher, "for": "2h", "comment": "Moving the racks", "starts": ""}
        assert (await viewer.act("/silences", **fields)).status == 403
        assert (await responder.act("/silences", **fields)).status == 303
        ((name, silence),) = [
            each
            for each in (await rulebook.all(Silence)).items()
            if each[1].matchers == (f'alert_type="{alert.type}"',)
        ]
        assert (silence.created_by, silence.comment) == ("responder", "Moving the racks")
        assert "Moving the racks" in (await viewer.get("/silences")).words
        assert (await responder.act(f"/silences/{name}/end")).status == 303
        assert not (await rulebook.get(Silence, [name]) or {name: silence})[name].holds_at(silence.ends_at)
        ended = (await responder.act(f"/silences/{name}/end")).headers["Location"]
        assert ended == "/silences"
        assert (await responder.act("/silences/none/end")).status == 404


async def explained(person: Person, **fields: str) -> str:
    return unescape((await person.act("/explain", **fields)).words)


async def test_a_category_is_shown_and_a_publish_explained(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        viewer, name = await console.person("viewer"), f"cat-{uuid.uuid4().hex[:8]}"
        user = await system.person("ada", email="ada.secret@example.com")
        record = {"title": "Comments", "channels": {"email": True}, "throttle": {"limit": 5, "per": "1h"}}
        await system.publish(f"directory/category/{name}", record)
        words = (await viewer.get("/categories")).words
        assert f"Comments {name} on, until a person switches it off email at most 5 in 1h; the rest is dropped" in words
        payload = json.dumps({"message": "x", "category": name})
        before = len((await viewer.get("/changes")).text)
        said = await explained(viewer, topic=f"notifications/realtime/user/{user}", payload=payload)
        assert f"{user} email is sent at once" in said
        assert f"category:{name}" in said
        assert "ada.secret" not in said
        assert "It would be refused" in await explained(viewer, topic="notifications/nowhere", payload="{}")
        assert (await viewer.act("/explain", topic="x", payload="[")).status == 400
        # A question is no change.
        assert len((await viewer.get("/changes")).text) == before


async def test_publishers_are_shown_with_what_was_refused_of_theirs(stack: Stack, console: Served) -> None:
    async with open_system(stack) as system:
        viewer, name = await console.person("viewer"), f"shop-{uuid.uuid4().hex[:8]}"
        await system.publish(f"directory/publisher/{name}", {"rate": "100/60s", "may": ["notifications/email/#"]})
        await system.publish("notifications/nowhere", {"message": "x"})
        words = (await viewer.get("/publishers")).words
        assert f"{name} 100 in 1m" in words
        assert "notifications/email/#" in words
        assert "notifications/nowhere" in words
        assert "unknown_topic" in words


async def test_an_audit_is_made_by_an_operator_one_at_a_time_and_shown(console: Served) -> None:
    operator = await console.person("operator")
    turn = f"{console.keys.audit}:by_hand"
    await console.store.command("SET", turn, "", "EX", 30)
    assert (await operator.act("/audit", since="1h")).status == 409
    await console.store.command("DEL", turn)
    assert (await operator.act("/audit", since="1h")).status == 303
    words = (await operator.get("/audit")).words
    assert "by somebody, counters" in words
    assert "accepted delivered suppressed expired dead lettered open difference" in words
    assert (await operator.act("/audit", since="1y")).status == 400
    # The turn is given back.
    assert await console.store.command("EXISTS", turn) == 0


_RUN = """() => {
  globalThis.executed = 0;
  globalThis.refused = 0;
  globalThis.xss = () => { globalThis.executed += 1; };
  addEventListener("securitypolicyviolation", () => { globalThis.refused += 1; });
}"""
_BESIDE = "document.documentElement.scrollWidth - innerWidth"


async def hostile(system: System, console: Served) -> list[str]:
    """Fill the pages with what strangers write, and return their paths."""
    texts = corpus()
    some = ["".join(texts[start : start + 3])[:180] for start in range(0, len(texts), len(texts) // 20)]
    alert = await opened(
        system, console, message="\n".join(texts[:: len(texts) // 30])[:4000], source=some[0],
        affected_systems=some[1:4], labels={"site": some[4]},
    )  # fmt: skip
    await system.publish(f"directory/user/{alert.user}", {"name": some[6].replace("\n", " ")[:100]})
    operator = await console.person("operator")
    for text in some[7:12]:
        printable = "".join(each for each in text if each.isprintable())
        assert (await operator.act(f"{alert.path}/note", note=printable)).status == 303
    await operator.act(
        "/silences", matchers=f"alert_type={alert.type}", comment="<img src=x onerror=xss()>", **{"for": "1h"}
    )
    await system.publish(f"directory/category/{alert.type}", {"title": "<script>xss()</script>"})
    await system.publish("notifications/<img src=x onerror=xss()>", {"message": "x"})
    query = quote("<script>xss()</script>", safe="")
    return [
        "/incidents", "/incidents?show=open", alert.path, f"/on-call?q={alert.type}", f"/on-call/{alert.type}",
        f"/silences?matchers=alert_type%3D{alert.type}&for=1h&comment={query}", f"/silences?matchers={query}",
        f"/categories?tenant={query}", f"/explain?topic={query}", "/publishers", f"/publishers?refused={query}",
        "/audit", "/changes",
    ]  # fmt: skip


@pytest.mark.parametrize(("theme", "width"), [("light", 360), ("dark", 1280)])
async def test_pages_fit_the_screen_run_nobodys_script_and_axe_finds_nothing(
    stack: Stack, console: Served, browser: Browser, node_packages: Path, theme: Any, width: int
) -> None:
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    problems: list[str] = []
    hostile_pages = 0
    async with open_system(stack) as system:
        paths = await hostile(system, console)
        if width > 1000:
            # The other theme and width, of those where most stands.
            paths = [
                path for path in paths if path.startswith(("/incidents/", "/on-call/", "/silences", "/publishers"))
            ]
        viewport: Any = {"width": width, "height": 800}
        async with console.window(browser, "operator", viewport=viewport, color_scheme=theme) as page:
            await page.add_init_script(f"({_RUN})()")
            for path in paths:
                await page.goto(console.url + path)
                await page.evaluate(axe)
                found: list[dict[str, Any]] = await page.evaluate("axe.run().then(({ violations }) => violations)")
                problems += [f"{path}: {one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]
                if (beside := await page.evaluate(_BESIDE)) > 0:
                    problems.append(f"{path}: {beside} px too wide")
                hostile_pages += await page.evaluate("document.body.textContent.includes('xss()')")
                if any(ran := await page.evaluate("[executed, refused]")):
                    problems.append(f"{path}: {ran[0]} scripts have run, {ran[1]} were kept from it")
    assert problems == []
    assert hostile_pages >= len(paths) // 2
