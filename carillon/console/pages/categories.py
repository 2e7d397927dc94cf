"""The pages Categories and Explain: what kinds of notifications there are, and who would hear what, when and why.

Nothing is written by either. An explanation is the very planner's, so it may take its time: it has a limit of its own.
"""

import json
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from carillon.console.forms import Form
from carillon.console.page import PAGE_ROWS, Action, Done, Page, Section, Visit
from carillon.console.rendering import length
from carillon.console.roles import Role
from services.router.explaining.building import explainer
from services.router.explaining.deciding import Verdict
from services.router.explaining.explainer import Explanation, FixedClock
from shared.core.clock import SystemClock
from shared.core.fields import IDENTIFIER_CHARS, Moment
from shared.core.model import Channel
from shared.core.topics import TOPIC_BYTES
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category, KnownCategory

_PAYLOAD_CHARS = 20_000
_moment: TypeAdapter[datetime] = TypeAdapter(Moment)

_TONES = {
    Verdict.SEND: "good",
    Verdict.SILENT: "info",
    Verdict.HELD: "warn",
    Verdict.DIGEST: "info",
    Verdict.SUPPRESSED: "none",
    Verdict.EXPIRED: "bad",
    Verdict.ESCALATES: "warn",
}
_VERDICT_WORDS = {
    Verdict.SEND: "is sent",
    Verdict.SILENT: "stands in the inbox, silently",
    Verdict.HELD: "is held",
    Verdict.DIGEST: "goes into a digest",
    Verdict.SUPPRESSED: "is not sent",
    Verdict.EXPIRED: "expires",
    Verdict.ESCALATES: "told next, if nobody answers",
}
_POLICIES = {
    "opt_out": "on, until a person switches it off",
    "opt_in": "off, until a person switches it on",
    "required": "on, and nobody can switch it off",
}


async def show_all(visit: Visit) -> dict[str, Any]:
    """Read the categories, for all or as a tenant has them."""
    tenant = visit.asked("tenant", IDENTIFIER_CHARS) or None
    catalogue = await Catalogues(visit.backend.store, visit.backend.keys).for_tenant(tenant)
    known = catalogue.known_to(tenant)
    after = visit.cursor
    some = [each for each in known if after is None or each.name > after]
    return {
        "categories": [_shown(each) for each in some[:PAGE_ROWS]],
        "tenant": tenant,
        "is_unknown": tenant is not None and catalogue.tenant(tenant) is None,
        "count": len(known),
        "unreadable": [name for name in sorted(catalogue.categories) if catalogue.category(name) is None][:PAGE_ROWS],
        "after": some[PAGE_ROWS - 1].name if len(some) > PAGE_ROWS else None,
    }


def _shown(known: KnownCategory) -> dict[str, Any]:
    record = known.record
    return {
        "name": known.name,
        "title": record.title or "",
        "policy": _POLICIES.get(record.policy, record.policy),
        "channels": _channels(record),
        "most": record.priority_at_most,
        "quiet": "is told during quiet hours, too" if record.quiet_hours == "ignore" else "",
        "throttle": _throttle(record),
        "digest": _digest(record),
        "changed": sorted(known.changed),
    }


def _channels(record: Category) -> list[tuple[str, bool]]:
    chosen = record.channels.model_dump(mode="json", exclude_none=True)
    return [(channel.value, bool(chosen[channel.value])) for channel in Channel if channel.value in chosen]


def _throttle(record: Category) -> str:
    throttle = record.throttle
    if throttle is None:
        return ""
    then = {"drop": "the rest is dropped", "hold": "the rest is held", "fold": "the rest goes into a digest"}
    by = f" for each {throttle.key}" if throttle.key else ""
    return f"at most {throttle.limit} in {length(throttle.per)}{by}; {then[throttle.then]}"


def _digest(record: Category) -> str:
    digest = record.digest
    if digest is None:
        return ""
    window = f"what comes within {length(digest.window)}" if digest.window is not None else ""
    when = f"daily at {digest.schedule.at:%H:%M}" if digest.schedule is not None else window
    by = f", by {digest.key}" if digest.key else ""
    return f"{when}{by}, on {', '.join(digest.channels)}"


# Explain


async def show_explain(visit: Visit) -> dict[str, Any]:
    """Show the form; what is asked comes with the action."""
    return {
        "asked": {"topic": visit.asked("topic", TOPIC_BYTES), "payload": "", "user": "", "at": ""},
        "explained": None,
        "words": _VERDICT_WORDS,
        "tones": _TONES,
    }


async def explain(visit: Visit, form: Form) -> Done:
    """Say who would hear what, when and why."""
    topic = form.text("topic", required=True, most_chars=TOPIC_BYTES)
    payload = form.read("payload", _payload, required=True, most_chars=_PAYLOAD_CHARS, lines=True)
    user = form.text("user", most_chars=IDENTIFIER_CHARS)
    at = form.read("at", _read_moment)
    form.check()
    clock = SystemClock() if at is None else FixedClock(at)
    backend = visit.backend
    explaining = explainer(backend.store, backend.keys, backend.topics, backend.rules, clock)
    explained = await explaining.explain(backend.topic_prefix + topic, (payload or "").encode(), user or None)
    asked = {"topic": topic, "payload": payload, "user": user, "at": form.text("at")}
    return Done("", shown={"asked": asked, "explained": _explained(explained)})


def _payload(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError('must be JSON, such as {"message": "It is full."}') from None
    if not isinstance(document, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the form asks for a ValueError
    return text


def _read_moment(text: str) -> datetime:
    try:
        return _moment.validate_python(text)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None


def _explained(explanation: Explanation) -> dict[str, Any]:
    people: dict[str | None, list[Any]] = {}
    for one in explanation.decided:
        people.setdefault(one.user_id, []).append(one)
    refused = explanation.refused
    return {
        "refused": None if refused is None else refused.receipt()["error"],
        "priority": explanation.priority,
        "category": explanation.category,
        "warnings": [each.document() for each in explanation.warnings],
        "people": list(people.items()),
        "more": explanation.more,
    }


PAGES = (
    Page("categories", "/categories", "Categories", show_all, section=Section.SET_UP),
    Page(
        "explain",
        "/explain",
        "Explain",
        show_explain,
        section=Section.LOOK_UP,
        actions=(Action("/explain", Role.VIEWER, "explain", explain, is_change=False),),
    ),
)
