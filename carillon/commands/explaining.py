"""``carillon explain``: who would hear what, when and why."""

import asyncio

import click

from carillon.commands.moments import read_moment
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.payload import read_payload
from carillon.commands.settings import OperatorSettings
from services.router.explaining.building import explainer
from services.router.explaining.deciding import Decided
from services.router.explaining.documents import explanation_document
from services.router.explaining.explainer import Explanation, FixedClock
from services.router.explaining.rules import RouterRules
from services.router.payloads.rejection import Rejected
from services.router.templates.folder import load
from shared.core.clock import Clock, SystemClock, rfc3339
from shared.core.topics import Topics


def print_explanation(topic: str, payload: str, *, user_id: str | None, at: str | None, as_json: bool) -> None:
    """Explain, and print it."""
    settings = OperatorSettings.load()
    explanation = asyncio.run(_explain(settings, topic, read_payload(payload), user_id, _clock(at)))
    if as_json:
        print_json(explanation_document(explanation))
    else:
        _print(explanation)
    if explanation.refused is not None:
        raise AnswerIsNo(printable(f"it would be refused: {_problem(explanation.refused)}"))


def rules_of(settings: OperatorSettings) -> RouterRules:
    """Return what the router is taken to go by."""
    return RouterRules(
        alert_escalation_after_s=settings.alert_escalation_after_s,
        lifetime_s=settings.delivery_lifetime_s,
        push_hold_s=settings.router_push_hold_s,
        person_daily_limit=settings.router_person_daily_limit,
        quiet_hours=settings.router_quiet_hours,
        release_within_s=settings.router_release_within_s,
        templates=load(settings.templates_dir) if settings.templates_dir else {},
        without=settings.without,
    )


async def _explain(
    settings: OperatorSettings, topic: str, payload: bytes, user_id: str | None, clock: Clock
) -> Explanation:
    async with open_store(settings) as (store, keys):
        asked = explainer(store, keys, Topics(settings.topic_prefix), rules_of(settings), clock)
        return await asked.explain(settings.topic_prefix + topic, payload, user_id)


def _problem(refused: Rejected) -> str:
    fields = "; ".join(f"{each.field}: {each.problem}" for each in refused.fields)
    return f"{refused.code}: {refused.message}" + (f" ({fields})" if fields else "")


def _clock(at: str | None) -> Clock:
    return SystemClock() if at is None else FixedClock(read_moment(at, "--at"))


def _print(explanation: Explanation) -> None:
    for warning in explanation.warnings:
        click.echo(printable(f"warning: {warning.field}: {warning.problem}"))
    if explanation.refused is not None:
        return
    if not explanation.decided:
        click.echo("nobody gets anything")
        return
    cells = [("PERSON", "CHANNEL", "VERDICT", "WHY", "AT", "ADDRESS")]
    print_columns([*cells, *(_cells(one) for one in explanation.decided)])
    if explanation.more:
        click.echo("and more people; name one with --user")


def _cells(one: Decided) -> tuple[str, ...]:
    why = " ".join(each for each in (one.reason, f"({one.rule})" if one.rule else None) if each)
    at = rfc3339(one.at) if one.at else "-"
    return one.user_id or "-", one.channel or "-", one.verdict.value, why or "-", at, one.address or "-"
