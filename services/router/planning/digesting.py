"""Digests: what is folded into one, and what one says when it closes.

The ledger keeps them (``shared.ledger.digests``). Here is decided which window an item comes into, and what is written
at its end.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.router.planning.known import Known, zone_of
from services.router.planning.pacing import Pacing
from services.router.planning.planner import Planner
from services.router.planning.stages import of_digest, rhythm_of
from services.router.planning.tasks import CloseDigest, Fold, Recheck, Task
from services.router.planning.texts import content_of
from services.router.templates.digest_list import plain_list
from services.router.templates.problems import Unrenderable
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.durations import milliseconds
from shared.core.errors import Reason
from shared.core.model import Channel, Content, Delivery, Notification, State, UserInbox
from shared.core.wall_clock import next_day, next_hour, next_time, next_week
from shared.directory.categories import DigestSpec, KnownCategory
from shared.directory.people import Person
from shared.directory.preferences import Rhythm
from shared.ledger.claims import Outcome
from shared.ledger.digests import Digests, Item, Opening, StillOpen
from shared.ledger.new_records import TASK_LIFETIME_MS, NewRow
from shared.store.keys import new_notification_id

log = logging.getLogger(__name__)

KIND = "digest"

# Of an item's own texts so much is kept.
_TITLE_CHARS, _MESSAGE_CHARS, _DATA_CHARS = 200, 1_000, 4_000


@dataclass(frozen=True, slots=True)
class Digesting:
    """Folds and closes.

    Args:
        digests: keeps them.
        pacing: puts off those whose channel is behind; None puts off none.
    """

    planner: Planner
    digests: Digests
    pacing: Pacing | None = None

    async def fold(self, notification: Notification, task: Task, what: Fold, *, again: bool) -> list[NewRow]:
        """Put one channel of one person into a digest; or plan it, if it goes out alone.

        Args:
            again: it was tried before, and may be in a digest already.
        """
        group = group_of(notification, what)
        added = await self.digests.place(group, notification.id, task.key) if again else None
        if added is not None and added.digest_id is not None:
            # Whatever the category says now.
            return [_folded(notification, what, added.digest_id, task.expires_ms)]
        pushes = what.channel is Channel.PUSH
        known = await self.planner.lookups.of_people(notification, [what.user_id], counts=False, pushes=pushes)
        await self.planner.turns.take()
        known = replace(known, now_ms=max(known.now_ms, task.due_ms))
        category, person = known.category(notification), known.people.get(what.user_id)
        if person is not None and category is not None and added is None:
            opening = opening_of(notification, what, known, category, person)
            if opening is not None:
                opening = replace(opening, notification=self._named(opening.notification, group))
                said = self.planner.texts(notification, known)(what.channel, person) or notification.content
                item = Item(notification.id, task.key, notification.accepted_ms, _item_text(notification, said))
                added = await self.digests.add(group, item, opening)
                if added.digest_id is not None:
                    return [_folded(notification, what, added.digest_id, task.expires_ms)]
        return self.planner.channel_rows(notification, what, known, of_digest(self.planner.stages))

    def _named(self, digest: Notification, group: str) -> Notification:
        return digest.model_copy(update={"id": new_notification_id(self.digests.shard_of_group(group))})

    async def close(self, digest: Notification, task: Task, what: CloseDigest) -> Outcome:
        """Close a digest whose time has come, and say what is in it."""
        if self.pacing is not None:
            await self.pacing.wait(what.channel, digest.priority)
        closed, known = await asyncio.gather(
            self.digests.close(digest.id),
            self.planner.lookups.of_people(digest, [what.user_id], counts=False, pushes=what.channel is Channel.PUSH),
        )
        if isinstance(closed, StillOpen):
            return _later(digest, task, what, closed.ends_ms)
        off = await self.digests.called_off(closed.members)
        if off:
            await self.digests.leave_out(digest.id, sorted(off))
        # Many close at one time, and the answers of the store come to them at once.
        await self.planner.turns.take()
        count = closed.count - len(off)
        if count <= 0:
            return Outcome(State.SUPPRESSED, Reason.DIGEST_EMPTY, provider="router")
        left_out = {notification_id for notification_id, _ in off}
        items = [item for item in map(_read_item, closed.items) if item.get("record") not in left_out]
        known = replace(known, now_ms=max(known.now_ms, task.due_ms))
        content = self._content(digest, what, known, items, count)
        as_fold = Fold(
            user_id=what.user_id, channel=what.channel, lifetime_ms=what.lifetime_ms, only_push=what.only_push
        )
        rows = self.planner.channel_rows(
            digest, as_fold, known, of_digest(self.planner.stages), texts=lambda _channel, _person: content
        )
        for new in rows:
            if isinstance(new.row, Task) and isinstance(new.row.what, Recheck):
                # Its items stay as they are, and it is written when it may be sent.
                return _later(digest, task, what, new.row.due_ms)
        return Outcome(State.DELIVERED, then=rows, provider="router")

    def _content(
        self,
        digest: Notification,
        what: CloseDigest,
        known: Known,
        items: Sequence[Mapping[str, Any]],
        count: int,
    ) -> Content:
        tenant, person = known.tenant(digest), known.people.get(what.user_id)
        if person is None:
            return digest.content
        locale, zone = person.locale or (tenant.locale if tenant else None), zone_of(person, tenant)
        shown = [{name: value for name, value in item.items() if name != "record"} for item in items]
        actors = list(dict.fromkeys(actor for item in shown if (actor := _actor(item)) is not None))
        data = {
            "count": count, "items": shown, "first": shown[0] if shown else {}, "last": shown[-1] if shown else {},
            "actors": actors, "more": count - len(shown),
        }  # fmt: skip
        base = digest.content.model_copy(update={"data": {"count": count, "actors": actors}})
        template = self.planner.templates.get(what.template) if what.template is not None else None
        if template is not None:
            data["category"] = digest.content.title
            try:
                written = content_of(
                    template, what.channel, base.model_copy(update={"data": data}), locale, zone, tenant=tenant
                )
            except Unrenderable:
                # Without its text: that may quote data.
                log.error("template does not fit a digest", extra={"template": template.name})  # noqa: TRY400
            else:
                return written.model_copy(update={"data": base.data})
        elif what.template is not None:
            log.error("template of a digest is gone", extra={"template": what.template})
        texts = plain_list(digest.content.title, count, shown, locale)
        return base.model_copy(update={"title": texts.title, "message": texts.message})


def group_of(notification: Notification, what: Fold) -> str:
    """Name what shares one digest."""
    # What is for the devices of one platform is told on no other.
    channel = what.channel if what.only_push is None else f"{what.channel}/{what.only_push}"
    names = (what.user_id, notification.tenant or "", notification.content.category or "", channel, what.key)
    return "\n".join(names)


def opening_of(
    notification: Notification, what: Fold, known: Known, category: KnownCategory, person: Person
) -> Opening | None:
    """Say how a digest is opened now; None where the category has none any more, or the notification cannot wait."""
    spec = category.record.digest
    if spec is None:
        throttle = category.record.throttle
        if not what.throttled or throttle is None:
            return None
        spec = DigestSpec(window=throttle.per)
    rhythm = rhythm_of(person, category.name)
    if rhythm == "instant" and not what.throttled:
        return None
    window_ms, ends_ms = _window(spec, rhythm, zone_of(person, known.tenant(notification)), known.now_ms)
    earliest_ms = ends_ms if ends_ms is not None else known.now_ms + (window_ms or 0)
    if notification.deadline_ms is not None and notification.deadline_ms <= earliest_ms and not what.throttled:
        return None
    is_sliding = window_ms is not None and spec.mode == "sliding"
    at_most_ms = None
    if is_sliding and window_ms is not None:
        at_most_ms = milliseconds(spec.at_most) if spec.at_most is not None else 6 * window_ms
    title = category.record.title or category.name
    digest = Notification(
        id="",
        kind=KIND,
        priority=notification.priority,
        accepted_ms=known.now_ms,
        content=Content(title=title, message="", type=KIND, category=category.name),
        publisher=notification.publisher,
        tenant=notification.tenant,
    )
    close = CloseDigest(
        user_id=what.user_id,
        channel=what.channel,
        lifetime_ms=what.lifetime_ms,
        template=spec.template,
        only_push=what.only_push,
    )
    latest_ms = max(ends_ms or 0, known.now_ms + (at_most_ms or window_ms or 0))
    row = _close_row(digest, close, 0, latest_ms + TASK_LIFETIME_MS)
    # What a throttle folds is one too many, and does not go out alone.
    first_now = spec.first == "now" and not what.throttled
    return Opening(digest, row, what.channel, window_ms, ends_ms, is_sliding, at_most_ms, first_now, spec.items)


def _window(spec: DigestSpec, rhythm: Rhythm | None, zone: str, now_ms: int) -> tuple[int | None, int | None]:
    """Say how long a window is, or when it ends."""
    now = from_epoch_ms(now_ms)
    match rhythm:
        case "hourly":
            return None, epoch_ms(next_hour(zone, now))
        case "daily":
            return None, epoch_ms(next_day(zone, now, spec.schedule.at) if spec.schedule else next_day(zone, now))
        case "weekly":
            return None, epoch_ms(next_week(zone, now, spec.schedule.at) if spec.schedule else next_week(zone, now))
    if spec.schedule is not None:
        return None, epoch_ms(next_time(spec.schedule.at, spec.schedule.days, zone, now))
    return (milliseconds(spec.window) if spec.window is not None else None), None


def _close_row(digest: Notification, what: CloseDigest, due_ms: int, expires_ms: int) -> NewRow:
    key = f"close:{what.number}"
    return NewRow(Task(key=key, priority=digest.priority, due_ms=due_ms, expires_ms=expires_ms, what=what))


def _later(digest: Notification, task: Task, what: CloseDigest, due_ms: int) -> Outcome:
    """Look at a digest again at another time."""
    again = what.model_copy(update={"number": what.number + 1})
    row = _close_row(digest, again, due_ms, max(task.expires_ms, due_ms + TASK_LIFETIME_MS))
    return Outcome(State.DELIVERED, then=[row], provider="router")


def _folded(notification: Notification, what: Fold, digest_id: str, expires_ms: int) -> NewRow:
    """Write down in which digest a delivery stands: so it ends."""
    row = Delivery(
        key=f"{what.channel}:{what.user_id}",
        channel=what.channel,
        priority=notification.priority,
        address=UserInbox(user_id=what.user_id),
        recipient=what.user_id,
        expires_ms=expires_ms,
        rule=what.rule or None,
        digest=digest_id,
    )
    return NewRow(row, State.SUPPRESSED, Reason.DIGESTED)


def _item_text(notification: Notification, said: Content) -> str:
    # Texts of a template are without the data, which the notification has.
    data = notification.content.data
    if len(json.dumps(data)) > _DATA_CHARS:
        data = {name: data[name] for name in ("actor",) if name in data and len(str(data[name])) <= _TITLE_CHARS}
    item = {
        "title": said.title[:_TITLE_CHARS],
        "message": said.message[:_MESSAGE_CHARS],
        "data": data,
        "at": notification.accepted_ms / 1000,
        "notification_id": notification.public_id,
        "record": notification.id,
    }
    return json.dumps(item, ensure_ascii=False, separators=(",", ":"))


def _read_item(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}


def _actor(item: Mapping[str, Any]) -> str | None:
    actor = item["data"].get("actor") if isinstance(item.get("data"), Mapping) else None
    return str(actor) if isinstance(actor, str | int | float) else None
