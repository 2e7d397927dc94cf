"""What the services export is what the rules and dashboards ask for, and a real Prometheus sees real faults."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from carillon.local.ports import SERVICES, free_port
from carillon.local.prometheus import local_prometheus, prometheus_url
from carillon.local.stack import Stack
from deploy.monitoring import panels, rules
from tests.conftest import need
from tests.manifests import of_kind
from tests.prometheus import promtool
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

# What scales the pods in production.
_TRIGGERS = [
    trigger["metadata"]["query"]
    for scaled in of_kind("prod-keda", "ScaledObject").values()
    for trigger in scaled["spec"]["triggers"]
    if trigger["type"] == "prometheus"
]
_EXPRESSIONS = [*rules.expressions(), *panels.expressions(), *_TRIGGERS]
# Made by Prometheus itself, not by what it scrapes: the target's labels and its own series.
_TARGET_LABELS = {"job", "service", "instance"}
_OWN = {"up": _TARGET_LABELS, "ALERTS": {"alertname", "alertstate", "severity"}}
_INTERVAL_S = 0.5


def selectors(expression: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Return what an expression reads, at any depth."""
    if isinstance(expression, promql.VectorSelector):
        yield expression
    parts = [getattr(expression, name, None) for name in ("expr", "lhs", "rhs", "vs", "vector_selector", "param")]
    for part in [*parts, *getattr(expression, "args", [])]:
        if isinstance(part, promql.Expr):
            yield from selectors(part)


def recorded() -> dict[str, set[str]]:
    """Return the names that the rules record; their labels are the rules' affair."""
    every = (rule for group in rules.groups()["groups"] for rule in group["rules"])
    return {rule["record"]: {"channel", "provider", "priority"} for rule in every if "record" in rule}


async def exported(session: aiohttp.ClientSession, stack: Stack) -> dict[str, set[str]]:
    """Return every series name that the services export, with its labels."""
    names: dict[str, set[str]] = {}
    for service in SERVICES:
        async with session.get(f"{stack.ops_url(service)}/metrics") as answer:
            text = await answer.text()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                names.setdefault(sample.name, set()).update(sample.labels)
    return names


@pytest.mark.parametrize("expression", _EXPRESSIONS)
def test_every_expression_of_rules_and_panels_is_promql(expression: str) -> None:
    assert list(selectors(promql.parse(expression)))


@pytest.mark.asyncio(loop_scope="session")
async def test_every_metric_and_label_of_rules_and_panels_is_exported_after_traffic(stack: Stack) -> None:
    async with open_system(stack) as system:
        await some_traffic(system)
        names = await exported(system.http, stack)
    known = names | recorded() | _OWN
    wrong = []
    for text in _EXPRESSIONS:
        for selector in selectors(promql.parse(text)):
            labels = {matcher.name for matcher in selector.matchers.matchers}
            if selector.name not in known:
                wrong.append(f"{selector.name} is exported by nobody: {text}")
            elif not labels <= known[selector.name] | _TARGET_LABELS:
                wrong.append(f"{selector.name} has no {labels - known[selector.name]}: {text}")
    assert wrong == []


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("service", SERVICES)
async def test_what_a_service_exports_is_as_prometheus_wants_it(stack: Stack, service: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{stack.ops_url(service)}/metrics") as answer:
        text = await answer.read()
    assert b"carillon_broker_up 1.0" in text
    promtool("check", "metrics", given=text)


@pytest.mark.asyncio(loop_scope="session")
async def test_an_escalation_is_exhausted_when_its_last_step_comes_and_nobody_has_answered(stack: Stack) -> None:
    async with open_system(stack) as system:

        def told() -> list[str]:
            log = (stack.data / "logs" / "router.log").read_text()
            return [json.loads(line)["notification_id"] for line in log.splitlines() if "nobody answered" in line]

        async def both() -> tuple[float, int] | None:
            lines, count = len(told()), await exhausted(system)
            # Another test's alert may end between the two.
            return (count, lines) if len(told()) == lines else None

        before, told_before = await eventually(both)
        alerts: dict[str, str | None] = {}
        user = await system.person("oncall", email="oncall@example.com")
        for kind in ("answered", "unanswered"):
            entry = {"users": [user], "escalation": [{"after_s": 0, "notify": ["oncall"]},
                                                     {"after_s": 2, "notify": ["oncall"]}]}  # fmt: skip
            await system.publish(f"directory/oncall/{kind}", entry)
            receipt = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Database down"})
            alerts[kind] = receipt.alert_id
            if kind == "answered":
                await system.publish(f"notifications/alerts/acknowledge/{receipt.alert_id}", {"user_id": user})

        async def counted() -> bool:
            return alerts["unanswered"] in told() and await exhausted(system) == before + len(told()) - told_before

        # The one that was answered was accepted first, so its last step has come as well. Alerts of other tests may be
        # left to their end meanwhile: each has a line of its own.
        await eventually(counted, 30)
        assert told().count(str(alerts["unanswered"])) == 1
        assert alerts["answered"] not in told()


async def exhausted(system: System) -> float:
    """Return how many escalations nobody answered."""
    async with system.http.get(f"{system.stack.ops_url('router')}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "carillon_exhausted_escalations_total"
    )


async def some_traffic(system: System) -> None:
    """Have every kind of series born: an inbox entry, a mail, an SMS, an audit."""
    user = await system.person()
    told = await system.publish(f"notifications/realtime/user/{user}", {"title": "One", "message": "Two"})
    await system.in_inbox(user, str(told.notification_id))
    address = system.address(user)
    await system.publish("notifications/email/send", {"to": address, "subject": "One", "body": "Two"})
    await system.arrived(to=address)


class Watch:
    """A Prometheus that watches a stack, as people ask it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression and return its series."""
        async with self._session.get(f"{self.url}/api/v1/query", params={"query": expression}) as answer:
            content = await answer.json()
        assert content["status"] == "success", content
        found: list[dict[str, Any]] = content["data"]["result"]
        return found

    async def fires(self, alert: str, **labels: str) -> list[dict[str, Any]]:
        """Return the series of an alert that fires."""
        wanted = {"alertname": f"Carillon{alert}", "alertstate": "firing", **labels}
        return await self.ask("ALERTS{" + ",".join(f'{name}="{value}"' for name, value in wanted.items()) + "}")


@asynccontextmanager
async def watching(stack: Stack, folder: Path) -> AsyncIterator[Watch]:
    """Run a Prometheus with short intervals, and with rules that wait for seconds instead of minutes."""
    need("prometheus")
    hasty = rules.groups()
    for group in hasty["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["for"] = "0s" if rule["for"] == "0m" else "2s"
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(hasty))
    port = free_port(stack.ports.all())
    targets = {service: stack.ops_url(service) for service in SERVICES}
    prometheus = local_prometheus(folder, port, targets, rules=file, interval_s=_INTERVAL_S)
    assert prometheus is not None
    await prometheus.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Watch(prometheus_url(port), session)
    finally:
        await prometheus.stop()


@pytest.mark.timeout(300)
async def test_a_refused_login_and_a_dead_store_are_alerts_while_they_last(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = new_stack(settings={"ROUTER_AUDIT_INTERVAL_S": "1"})
    await stack.start()
    async with open_system(stack) as system, watching(stack, tmp_path) as watch:
        await eventually(lambda: _all_answer(watch), 30, "every service scraped and audited")
        await eventually(lambda: _silent(watch), 30, "nothing that fires")

        await system.sandbox.play("smtp", {"operator": True}, times=None)
        await system.publish("notifications/email/send", {"to": "a@example.com", "subject": "One", "body": "Two"})
        await eventually(lambda: watch.fires("ProviderPaused", provider="smtp", severity="page"), 30)
        await system.sandbox.heal()
        await eventually(lambda: _silent(watch, "ProviderPaused"), 60)
        await system.arrived(to="a@example.com", within_s=60)

        assert stack.store.pid is not None
        os.kill(stack.store.pid, signal.SIGKILL)
        # Also where nothing is to be done and nobody probes.
        await eventually(lambda: _every_service(watch, "StoreAway"), 30)
        assert await watch.fires("BrokerAway") == []
        await stack.store.start()
        await eventually(lambda: _silent(watch, "StoreAway"), 60)

        assert stack.broker.pid is not None
        os.kill(stack.broker.pid, signal.SIGKILL)
        await eventually(lambda: _every_service(watch, "BrokerAway"), 30)
        await stack.broker.start()
        await eventually(lambda: _silent(watch, "BrokerAway"), 60)

        await stack.kill("sms")
        await eventually(lambda: watch.fires("ServiceGone", service="sms"), 30)
        assert len(await watch.fires("ServiceGone")) == 1
        await stack.start_service("sms")
        await eventually(lambda: _silent(watch), 60)


async def _all_answer(watch: Watch) -> bool:
    audited = await watch.ask("carillon_audit_last_success_timestamp_seconds > 0")
    return len(await watch.ask('up{job="carillon"} == 1')) == len(SERVICES) and bool(audited)


async def _every_service(watch: Watch, alert: str) -> bool:
    return {series["metric"]["service"] for series in await watch.fires(alert)} == set(SERVICES)


async def _silent(watch: Watch, alert: str = "") -> bool:
    return not await watch.ask(f'ALERTS{{alertname=~"Carillon{alert}.*", alertstate="firing"}}')
