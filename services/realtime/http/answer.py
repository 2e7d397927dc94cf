"""The link of an alert's mail or push: a page with what the alert says, and one button that acknowledges it.

Promises that only a POST changes anything: mail scanners, previews and browsers that fetch ahead follow links. A link
that was not signed here, is too old, or is of somebody who was not told of the alert gets the same page, which says
nothing of any alert. A forged one does not reach the store. A closed alert stays closed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from aiohttp import web

from services.realtime.access.rates import Rates
from services.realtime.access.refusals import too_many_requests
from services.realtime.http.link_page import button, page, paragraph
from services.realtime.http.shapes import AnsweredAlert
from shared.core.clock import Clock
from shared.core.errors import StoreUnavailable
from shared.core.incidents import AlertState
from shared.core.wall_clock import zone_of
from shared.directory.answer_link import PATH, AnswerLink, read_token
from shared.ledger.answering import Answering
from shared.ledger.told_alert import ToldAlert, ToldAlerts

_REFUSED = (
    "This link is not complete, not valid any more, or not for you. Please use the whole link of the newest message, "
    "or open your inbox."
)


class AnswerPage:
    """Serves the links.

    Args:
        secrets: what they were signed with, the newest first; the email and push services have the same.
        rates: how often one person's links may ask.
    """

    def __init__(
        self, secrets: Sequence[str], alerts: ToldAlerts, answering: Answering, rates: Rates, clock: Clock
    ) -> None:
        self._secrets = secrets
        self._alerts = alerts
        self._answering = answering
        self._rates = rates
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """List what is served."""
        return [web.get(PATH, self.ask), web.post(PATH, self.acknowledge)]

    async def ask(self, request: web.Request) -> web.Response:
        """Show the alert, with a button where nobody has answered it."""
        link = self._link(request)
        if link is None:
            return _refused()
        try:
            alert = await self._alert(link)
        except StoreUnavailable:
            return _later()
        return self._shown(link, alert) if alert is not None else _refused()

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Acknowledge the alert in the name of the person whom the link was sent to; the body adds nothing."""
        link = self._link(request)
        if link is None:
            return _refused()
        try:
            alert = await self._alert(link)
            if alert is not None and alert.is_open:
                answered = await self._answering.acknowledge(link.alert_id, link.user_id, way=link.way)
                alert = await self._alert(link) if answered else None
        except StoreUnavailable:
            return _later()
        if alert is None:
            return _refused()
        if "application/json" in request.headers.get("Accept", ""):
            return _as_json(alert)
        return self._shown(link, alert)

    async def _alert(self, link: AnswerLink) -> ToldAlert | None:
        return await self._alerts.shown_to(link.user_id, link.alert_id)

    def _link(self, request: web.Request) -> AnswerLink | None:
        """Return what the request's link is about.

        Raises:
            Refusal: this person's links ask too often.
        """
        token, now = request.query.get("token", ""), self._clock.now()
        link = next(filter(None, (read_token(secret, token, now) for secret in self._secrets)), None)
        if link is not None and (wait_s := self._rates.take(link.user_id)):
            raise too_many_requests("Too many requests in too short a time.", wait_s)
        return link

    def _shown(self, link: AnswerLink, alert: ToldAlert) -> web.Response:
        now, content = self._clock.now(), alert.content
        facts = [("Since", _time(alert.since, now, alert.timezone))]
        if details := content.alert:
            if details.affected_systems:
                facts.insert(0, ("Systems", escape(", ".join(details.affected_systems))))
            if details.source:
                facts.insert(0, ("Source", escape(details.source)))
        if alert.acknowledged_at is not None:
            who = escape("you" if alert.acknowledged_by == link.user_id else alert.acknowledged_name or "somebody")
            facts.append(("Acknowledged", f"by {who}, {_time(alert.acknowledged_at, now, alert.timezone)}"))
        if alert.resolved_at is not None:
            facts.append(("Resolved", _time(alert.resolved_at, now, alert.timezone)))
        listed = "".join(f'<dt>{name}</dt><dd dir="auto">{value}</dd>' for name, value in facts)
        return page(
            content.title,
            paragraph(content.message, "said"),
            f"<dl>{listed}</dl>",
            paragraph(_state(link, alert), "state"),
            button("Acknowledge", urgent=True) if alert.is_open else "",
        )


def _state(link: AnswerLink, alert: ToldAlert) -> str:
    match alert.state:
        case AlertState.OPEN:
            return "Nobody has acknowledged this alert yet."
        case AlertState.RESOLVED:
            return "This alert is resolved. There is nothing left to do."
        case AlertState.ACKNOWLEDGED if alert.acknowledged_by == link.user_id:
            return "You have acknowledged this alert."
        case AlertState.ACKNOWLEDGED:
            return f"{alert.acknowledged_name or 'Somebody'} has acknowledged this alert."
        case _:
            return "This alert was withdrawn. There is nothing left to do."


def _time(moment: datetime, now: datetime, timezone: str | None) -> str:
    """Write a moment as HTML: in the reader's time zone, and how long ago."""
    local = moment.astimezone(zone_of(timezone) if timezone else UTC)
    words = f"{local:%H:%M} {local.tzname()}, {local.day} {local:%B}"
    return f'<time datetime="{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}">{escape(words)}</time> ({_ago(moment, now)})'


def _ago(moment: datetime, now: datetime) -> str:
    minutes = max(0, round((now - moment).total_seconds())) // 60
    if minutes < 1:
        return "just now"
    hours, days = minutes // 60, minutes // 1440
    count, unit = (days, "day") if days >= 2 else (hours, "hour") if hours >= 2 else (minutes, "minute")
    return f"{count} {unit}{'s' if count > 1 else ''} ago"


def _as_json(alert: ToldAlert) -> web.Response:
    at = alert.acknowledged_at
    answered = AnsweredAlert(
        state=alert.state or "ended",
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=at.timestamp() if at is not None else None,
    )
    return web.Response(text=answered.model_dump_json(exclude_none=True), content_type="application/json")


def _later() -> web.Response:
    answer = page("Not now", paragraph("The alert cannot be shown or changed just now. Please try again."), status=503)
    answer.headers["Retry-After"] = "2"
    return answer


def _refused() -> web.Response:
    return page("Unknown link", paragraph(_REFUSED), status=400)
