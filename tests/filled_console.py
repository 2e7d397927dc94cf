"""A console's store filled with words wherever somebody can write them, and the paths at which they are shown.

The console's own forms write what they can; the rest is written as the services do.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from carillon.console.page import path_to
from services.router.intake.records import first_lines
from services.router.payloads.parse import parse
from services.router.planning.compose import compose
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.incidents import AlertState, Way
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.core.topics import Kind
from shared.delivery.standing import ProviderState, Standing
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.directory import Directory
from shared.directory.inhibitions import Inhibition
from shared.directory.people import OnCall
from shared.directory.people import Person as Entry
from shared.directory.publishers import Publisher, Publishers
from shared.directory.rulebook import Rulebook
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.claims import Outcome
from shared.ledger.confirmations import Confirmations
from shared.ledger.confirmations import Outcome as Said
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.rejections import Rejections
from shared.runtime.alive import Alive, Processes
from shared.store.keys import new_notification_id
from shared.store.store import Store
from tests.console import Person, Served
from tests.records import LEASE, now_ms
from tests.waiting import eventually

USER = "ada"
ADDRESS = "ada@example.com"
CALLED = "word"
# Enough for lists that go on on a second page.
HARMLESS = tuple(f"plain words {number}" for number in range(400))


def line(text: str) -> str:
    """Write a text as one line, as fields of one line take it."""
    return "".join(char if char.isprintable() else " " for char in text).replace("=?", "= ?")


def packed(texts: Iterable[str], most_chars: int) -> Iterator[str]:
    """Yield all texts, as many together as have room in a field."""
    together = ""
    for text in map(line, texts):
        if together and len(together) + 1 + len(text) > most_chars:
            yield together
            together = ""
        together = f"{together} {text}" if together else text[:most_chars]
    yield together


def quoted(text: str) -> str:
    """Write a matcher's value."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Filler:
    """Writes texts wherever somebody can, as the services and the console's own forms do."""

    def __init__(self, served: Served, texts: Sequence[str], operator: Person, store: Store | None = None) -> None:
        self.keys = served.keys
        # What the services write may be written by another login than the console's own.
        self.store = store or served.store
        self.texts = texts
        self.operator = operator
        self.token = ""
        self.ledger = Ledger(self.store, self.keys)

    async def everything(self) -> list[str]:
        """Write all of it, and return the paths at which it is shown."""
        self.token = await self.operator.token()
        sent, letter = await self.deliveries()
        incident = await self.incident()
        await self.people()
        await self.rules()
        await self.publishers()
        await self.providers()
        asked = [quote(text, safe="") for text in list(packed(self.texts[::80], 100))[:2]]
        return [
            "/", "/incidents", f"/incidents/{incident}", "/on-call", f"/on-call/{CALLED}", "/providers", "/silences",
            f"/find?person={USER}", f"/find?address={digest(ADDRESS)}", "/find?go=1", f"/trace/{sent}",
            f"/people/{USER}", "/dead-letters", f"/dead-letters/replay?id={letter}", "/categories", "/explain",
            "/publishers", "/audit", "/changes",
            *(f"/{path}={text}" for text in asked for path in (
                "find?person", "find?own", "find?go=1&category", "categories?tenant", "on-call?q", "publishers?refused",
                "explain?topic", "silences?for=1h&comment=x&matchers", "changes?who",
            )),
        ]  # fmt: skip

    async def act(self, path: str, **fields: str) -> None:
        answer = await self.operator.post(path, {"csrf": self.token, **fields})
        assert answer.status in (200, 303), (path, fields, answer.words)

    async def deliveries(self) -> tuple[str, str]:
        """Write notifications with every outcome, and what the providers and the rules say of them."""
        ids = []
        whole = list(packed(self.texts, 2000))
        for number, said in enumerate(whole):
            rows = [self._row(f"email:{USER}", said), self._row(f"email:{USER}:2", said)]
            rows.append(NewRow(self._row("sms:x", said).row, State.SUPPRESSED, Reason.PREFERENCE_OFF))
            notification = Notification(
                id=new_notification_id(), kind="email_send", priority=Priority.HIGH, accepted_ms=now_ms(),
                publisher=said[:100], tenant=said[:100],
                content=Content(title=said, message=said, category=said[:500], type=said[:100]),
            )  # fmt: skip
            await self.ledger.accept(NewRecord(notification, tuple(rows)))
            ids.append(notification.id)
            dead = Outcome(State.DEAD_LETTERED, Reason.REJECTED, provider=said[:100], detail=said.replace("|", ""))
            taken = Outcome(State.DELIVERED, provider="smtp", provider_id=said.replace("|", ""), detail=said[:200])
            for key, outcome in ((f"email:{USER}", dead), (f"email:{USER}:2", taken)):
                (claim,) = await self.ledger.claim([(notification.id, key)], LEASE)
                assert await self.ledger.finish(claim, outcome) == "finished"
            how = (Said.FAILED, Said.COMPLAINED)[number % 2]
            await Confirmations(self.store, self.keys).write(
                notification.id, f"email:{USER}:2", how, said.replace("|", ""), ""
            )
        return ids[-1], ids[0]

    def _row(self, key: str, rule: str) -> NewRow:
        return NewRow(
            Delivery(
                key=key, channel=Channel(key.partition(":")[0]), priority=Priority.HIGH, recipient=USER, rule=rule,
                address=EmailAddress(email=ADDRESS), expires_ms=now_ms() + 3_600_000,
            )
        )  # fmt: skip

    async def incident(self) -> str:
        """Open an incident, and write notes."""
        some = list(packed(self.texts, 200))
        said: dict[str, Any] = {
            "message": "\n".join(some)[:4000], "source": some[0], "labels": {"site": some[-1]},
            "affected_systems": [each[:100] for each in some[1:9]],
        }  # fmt: skip
        kind = Kind.ALERT_CRITICAL
        read = parse(kind, {"alert_type": "disk"}, json.dumps(said).encode())
        draft = compose(kind, read, now_ms=now_ms(), lifetime_s=86400)  # type: ignore[arg-type]
        await self.ledger.accept(
            NewRecord(
                draft.notification, (), dedup_key=draft.dedup_key, alert=AlertState.OPEN, is_incident=True,
                says=first_lines(draft, (), Way.MQTT),
            )
        )  # fmt: skip
        path = path_to("/incidents/{id}", id=draft.notification.id)
        for note in packed(self.texts, 1000):
            await self.act(f"{path}/note", note=note)
        return draft.notification.id

    async def people(self) -> None:
        """Write a person, what stands against the address, and who is on call."""
        directory = Directory(self.store, self.keys)
        await directory.put(Entry(user_id=USER, email=ADDRESS, name=next(packed(self.texts[1:], 200))))
        unwanted = Suppressions(self.store, self.keys, Channel.EMAIL, SystemClock())
        for number, said in enumerate(packed(self.texts, 500)):
            about = said[:100] if number else None
            await unwanted.add(digest(ADDRESS), Cause.UNSUBSCRIBED if about else Cause.BOUNCE, said, about)
        users = []
        for said in packed(self.texts, 128):
            users.append(re.sub("[/+#]", " ", said))
            await directory.put(Entry(user_id=users[-1], name=said))
        for alert_type in (CALLED, *users[:20]):
            entry = {"alert_type": alert_type, "users": users[:100]}
            await directory.put_oncall(alert_type, OnCall.model_validate(entry))

    async def rules(self) -> None:
        """Write silences, inhibitions and categories."""
        for said in packed(self.texts, 200):
            matcher = f"system={quoted(said[:100])}"
            await self.act("/silences", matchers=matcher, comment=said, starts="", **{"for": "1h"})
        rulebook, catalogues = (
            Rulebook(self.store, self.keys),
            Catalogues(self.store, self.keys),
        )
        for said in packed(self.texts, 100):
            name = re.sub("[/+#]", " ", said)
            matcher = f"system={quoted(said[:100])}"
            rule = {"source": [matcher], "target": [matcher], "equal": ["system"]}
            await rulebook.put(name, Inhibition.model_validate(rule))
            await catalogues.put_category(name, Category(title=said))

    async def publishers(self) -> None:
        """Write records of publishers, and what was refused."""
        publishers = Publishers(self.store, self.keys)
        for number, said in enumerate(packed(self.texts, 100)):
            may = ("x/" + re.sub("[+#]", " ", said),)
            await publishers.put(f"shop-{number}", Publisher(may=may, tenant=re.sub("[/+#]", " ", said)))
        refused = [(said, 10, {"code": said[:50], "message": said, "fields": []}) for said in packed(self.texts, 200)]
        await Rejections(self.store, self.keys, 86400).keep(refused)

    async def providers(self) -> None:
        """Pause providers, and let a process say how its providers are."""
        some = list(packed(self.texts, 300))
        for number, said in enumerate(some):
            await self.act(f"/providers/email/p{number}/pause", reason=said, **{"for": "1h"})
        standings = [
            Standing(said[:80], state, reason=said[:80], detail=said[:200], server=said[:80], for_s=60)
            for state, said in zip(list(ProviderState) * len(some), some, strict=False)
        ]
        stopping = asyncio.Event()
        alive = Alive(
            self.store, self.keys, service="email", process="one", checks={},
            standings=lambda: standings, now=lambda: datetime.now(UTC),
        )  # fmt: skip
        says = asyncio.create_task(alive.work_forever(stopping), name="alive")
        processes = Processes(self.store, self.keys)

        async def heard() -> bool:
            return bool((await processes.of([Channel.EMAIL])).get("email"))

        await eventually(heard, 30, "the process")
        says.cancel()
