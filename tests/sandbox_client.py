"""A client of a running sandbox: reads what arrived, and sets the faults to play."""

from collections.abc import Mapping
from typing import Any

import aiohttp


class SandboxClient:
    """One sandbox, over HTTP."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self.url = url
        self.environment = dict(environment)

    async def outbox(self, **wanted: str) -> list[dict[str, Any]]:
        """Return what arrived, oldest first; ``channel=`` and ``to=`` narrow it."""
        async with self._session() as session, session.get("/outbox.json", params=wanted) as answer:
            entries: list[dict[str, Any]] = await answer.json()
            return entries

    async def play(
        self, provider: str, fault: Mapping[str, Any], *, to: str | None = None, times: int | None = 1
    ) -> None:
        """Have a provider misbehave, for one recipient or all, so many times or until ``heal``."""
        rule = {"provider": provider, "times": times, "fault": dict(fault), **({"to": to} if to else {})}
        async with self._session() as session, session.post("/script", json=rule):
            pass

    async def inbound_sms(self, sender: str, body: str) -> int:
        """Have somebody send an SMS, and return the status of the answer that it got."""
        message = {"sender": sender, "body": body}
        async with self._session() as session, session.post("/twilio/inbound", json=message) as answer:
            status: int = (await answer.json())["status"]
            return status

    async def heal(self) -> None:
        """End every fault. What arrived stays, so that nothing which comes at once is forgotten."""
        async with self._session() as session, session.delete("/script"):
            pass

    async def clear(self) -> None:
        """End every fault and forget what arrived."""
        await self.heal()
        async with self._session() as session, session.delete("/outbox.json"):
            pass

    async def subscription(self, name: str) -> dict[str, Any]:
        """Return a browser's push subscription."""
        async with self._session() as session, session.post("/webpush/subscriptions", json={"name": name}) as answer:
            subscription: dict[str, Any] = await answer.json()
            return subscription

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, raise_for_status=True)
