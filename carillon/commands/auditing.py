"""``carillon audit``: is everything that was accepted accounted for, and is anything overdue?"""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import click
from redis.exceptions import ResponseError

from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json
from carillon.commands.progress import ProgressLine
from carillon.commands.settings import OperatorSettings
from shared.core.clock import rfc3339
from shared.core.errors import StoreUnavailable
from shared.ledger.audit import LONGEST_SPAN, Audit, Depth
from shared.ledger.audit_report import ACCOUNT_WORDS, ITEM_WORDS, Accounts, Finding, Report
from shared.ledger.audit_results import AuditResults, MadeBy, report_document

_IDS_SHOWN = 10


def audit_accounts(*, since: timedelta, deep: bool, overdue_after: timedelta, as_json: bool) -> None:
    """Audit, print what was found, and raise AnswerIsNo when something is."""
    if since > LONGEST_SPAN:
        raise click.BadParameter(f"the counters are kept {LONGEST_SPAN.days} days", param_hint="--since")
    settings = OperatorSettings.load()
    report = asyncio.run(_run(settings, since, overdue_after, Depth.RECORDS if deep else Depth.COUNTERS))
    if as_json:
        print_json(report_document(report))
    else:
        _print(report)
    if not report.holds:
        raise AnswerIsNo(_verdict(report))


async def _run(settings: OperatorSettings, since: timedelta, overdue_after: timedelta, depth: Depth) -> Report:
    line = ProgressLine()
    try:
        async with open_store(settings) as (store, keys):
            audit = Audit(store, keys, settings.record_retention_s, overdue_after)
            began_s = time.monotonic()
            report = await audit.run(since, depth, lambda what, done, of: line.show(f"{what}: {done} of {of}"))
            took = timedelta(seconds=time.monotonic() - began_s)
            # The answer is there, whether or not it can be kept: the store may refuse it to this user.
            with suppress(ResponseError, StoreUnavailable):
                await AuditResults(store, keys).keep(report, MadeBy.OPERATOR, depth, took)
            return report
    finally:
        line.clear()


def _print(report: Report) -> None:
    total = sum(report.accounts.values(), Accounts())
    rows = [("CHANNEL", *map(str.upper, ACCOUNT_WORDS), "DIFFERENCE")]
    for name, accounts in [*report.accounts.items(), ("all", total)]:
        rows.append((name, *map(str, accounts.numbers), str(accounts.difference)))
    print_columns(rows)
    click.echo()
    _print_digests(report)
    click.echo(
        f"due from {rfc3339(report.since)} to {rfc3339(report.until)}; looked at {report.open_rows_seen} of"
        f" {report.open_rows} open rows of any time and at {report.records_seen} records"
    )
    if report.findings:
        click.echo()
        cells = [("KIND", "CHANNEL", "MINUTE", "COUNT", "NUMBERS")]
        print_columns([*cells, *map(_cells, report.findings)], notes=[(), *map(_ids, report.findings)])


def _print_digests(report: Report) -> None:
    """Print the accounts of digests, where there are any."""
    rows = [
        (f"{channel} digests", *map(str, accounts.named.values()), str(accounts.difference))
        for channel, accounts in report.items.items()
        if any(accounts.named.values())
    ]
    if rows:
        print_columns([("ITEMS OF", *map(str.upper, ITEM_WORDS), "DIFFERENCE"), *rows])
        click.echo()


def _cells(finding: Finding) -> tuple[str, ...]:
    minute = f"{finding.minute:%Y-%m-%dT%H:%MZ}" if finding.minute else "-"
    numbers = ", ".join(f"{word} {number}" for word, number in finding.numbers.items()) or "-"
    return finding.kind.value, finding.lane, minute, str(finding.count), numbers


def _ids(finding: Finding) -> list[str]:
    ids = sorted(finding.notification_ids)
    more = [f"and others; --json names {len(ids)}"] if len(ids) > _IDS_SHOWN else []
    return ids[:_IDS_SHOWN] + more


def _verdict(report: Report) -> str:
    off, late = sum(report.imbalance().values()), sum(report.overdue().values())
    parts = ["the accounts do not balance" if off else "the accounts balance"]
    parts.append(f"{late} overdue" if late else "nothing is overdue")
    return ", ".join(parts)
