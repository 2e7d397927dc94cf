"""The page Audit: is everything that was accepted accounted for, and is anything overdue?

It shows what the newest audits have found, the routers' own and those of people. An operator can make one. It reads the
counters and what is open, within the time of an action, and only one at a time is made by all consoles.
"""

import time
from collections import Counter
from datetime import timedelta
from typing import Any

from carillon.console.forms import Form
from carillon.console.page import Action, Done, NotDone, Page, Section, Visit
from carillon.console.roles import Role
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_report import ACCOUNT_WORDS, ITEM_WORDS, Kind
from shared.ledger.audit_results import AuditResult, AuditResults, MadeBy

_SHOWN = 60
_SPANS = {"1h": timedelta(hours=1), "6h": timedelta(hours=6), "1d": timedelta(days=1), "7d": timedelta(days=7)}
# Longer than an action may take.
_TURN_S = 30

_KIND_WORDS = {
    Kind.TALLY: "The counters of a minute contradict each other.",
    Kind.SCHEDULE: "The schedule's entries are not the open rows.",
    Kind.ROWS: "The counters say something else than the rows in the records.",
    Kind.MISSING: "A record is gone before its time.",
    Kind.OPEN_COUNT: "A record miscounts its open rows.",
    Kind.EXPIRING: "A record will be forgotten although something in it is open.",
    Kind.UNREADABLE: "A record, or a row in it, cannot be read.",
    Kind.DIGEST: "What came into digests is not what left them.",
    Kind.UNSWEPT: "Rows were due long ago, and no router has taken them up.",
    Kind.LEASE_LAPSED: "A worker died with rows in its hands, and nobody has claimed them since.",
    Kind.PAST_EXPIRY: "Rows are open long after their deadline.",
}


async def show(visit: Visit) -> dict[str, Any]:
    """Read the newest results."""
    results = await AuditResults(visit.backend.store, visit.backend.keys).newest(_SHOWN)
    newest = results[0] if results else None
    chosen = next((each for each in results if each.at.isoformat() == visit.asked("at", 40)), newest)
    return {
        "results": results,
        "newest": newest,
        "chosen": chosen,
        "accounts": _accounts(chosen, "accounts"),
        "items": [row for row in _accounts(chosen, "digests") if any(row[1])],
        "findings": _findings(chosen),
        "words": ACCOUNT_WORDS,
        "item_words": ITEM_WORDS,
        "kinds": _KIND_WORDS,
        "routers": MadeBy.ROUTER,
        "spans": list(_SPANS),
        "late": sum(chosen.overdue.values()) if chosen else 0,
        "off": sum(chosen.imbalance.values()) if chosen else 0,
    }


def _accounts(result: AuditResult | None, name: str) -> list[tuple[str, list[int], int]]:
    """Return the accounts of each lane, and of all together, with what does not add up."""
    said = result.document.get(name) if result is not None else None
    if not isinstance(said, dict):
        return []
    words = ACCOUNT_WORDS if name == "accounts" else ITEM_WORDS
    rows = [
        (str(lane), [_number(of.get(word)) for word in words], _number(of.get("difference")))
        for lane, of in said.items()
        if isinstance(of, dict)
    ]
    total: Counter[int] = Counter()
    for _, numbers, _ in rows:
        total.update(dict(enumerate(numbers)))
    of_all = ("all", [total[index] for index in range(len(words))], sum(each[2] for each in rows))
    return [*rows, of_all] if rows and name == "accounts" else rows


def _findings(result: AuditResult | None) -> list[dict[str, Any]]:
    said = result.document.get("findings") if result is not None else None
    return [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


async def run(visit: Visit, form: Form) -> Done:
    """Audit now."""
    span = _SPANS[form.choice("since", _SPANS, "1h")]
    form.check()
    backend = visit.backend
    turn = f"{backend.keys.audit}:by_hand"
    if not await backend.store.command("SET", turn, "", "NX", "EX", _TURN_S):
        raise NotDone("Somebody's audit is under way. See what it finds.")
    try:
        began_s = time.monotonic()
        report = await Audit(backend.store, backend.keys, backend.record_retention_s).run(span, Depth.COUNTERS)
        took = timedelta(seconds=time.monotonic() - began_s)
        await AuditResults(backend.store, backend.keys).keep(report, MadeBy.OPERATOR, Depth.COUNTERS, took)
    finally:
        await backend.store.command("DEL", turn)
    off, late = sum(report.imbalance().values()), sum(report.overdue().values())
    found = "The accounts balance" if not off else "The accounts do not balance"
    return Done(f"{found}, and {f'{late} are overdue' if late else 'nothing is overdue'}.", to="/audit")


PAGES = (
    Page(
        "audit",
        "/audit",
        "Audit",
        show,
        section=Section.SET_UP,
        actions=(Action("/audit", Role.OPERATOR, "audit.run", run, keeps=("since",)),),
    ),
)
