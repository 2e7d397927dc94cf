"""Grafana's dashboards: overview, channel, router, realtime, alerts and on-call, on-call.

Each is a grid with two panels a row. Every panel says in one line what it shows when all is well. The data source is a
variable, so a dashboard fits any Grafana.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos, VariableRefresh

_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_WIDTH, _HEIGHT, _STAT_HEIGHT = 12, 8, 4
_RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        good: what it looks like when all is well.
        queries: expression and legend of each line.
        unit: Grafana's name of it.
    """

    title: str
    good: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    shape: Literal["lines", "number"] = "lines"

    def build(self, at: GridPos) -> timeseries.Panel | stat.Panel:
        """Draw it at its place."""
        panel: timeseries.Panel | stat.Panel
        if self.shape == "lines":
            legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
            panel = timeseries.Panel().legend(legend.show_legend(show_legend=True)).min(0)
        else:
            panel = stat.Panel().reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        panel = panel.title(self.title).description(self.good).unit(self.unit).grid_pos(at).datasource(_SOURCE)
        for number, (expression, legend_format) in enumerate(self.queries):
            query = prometheus.Dataquery().expr(expression).legend_format(legend_format).ref_id(chr(ord("A") + number))
            panel = panel.with_target(query)
        return panel


_ALERTS = Panel(
    "Alerts that fire",
    "Nothing. Each one's runbook is in docs/runbooks.",
    (('sum by (alertname, severity) (ALERTS{alertname=~"Carillon.*", alertstate="firing"})', "{{alertname}}"),),
)
_OPEN = Panel(
    "Open deliveries", "Returns to where it was after every peak.", (("carillon:open_deliveries", "{{channel}}"),)
)
_OLDEST = Panel(
    "Oldest open delivery",
    "Seconds; hours only where a mailbox is full.",
    (("max by (channel) (carillon_oldest_open_delivery_age_seconds)", "{{channel}}"),),
    unit="s",
)
_AWAY = Panel(
    "Connections to broker and store",
    "1 everywhere.",
    (
        ("min by (service) (carillon_broker_up)", "{{service}} broker"),
        ("min by (service) (carillon_store_up)", "{{service}} store"),
    ),
)

OVERVIEW = (
    Panel(
        "Delivered in the last hour",
        "What usually arrives at this time of the day.",
        (('sum(increase(carillon_deliveries_total{outcome="delivered"}[1h]))', ""),),
        shape="number",
    ),
    Panel(
        "Not delivered in the last hour",
        "Close to nothing: expired and dead letters.",
        (('sum(increase(carillon_deliveries_total{outcome=~"expired|dead_lettered"}[1h]))', ""),),
        shape="number",
    ),
    Panel(
        "Accepted notifications",
        "Follows the publishers; refused ones are a publisher's mistake.",
        ((f"sum by (outcome) (rate(carillon_notifications_total[{_RATE}]))", "{{outcome}}"),),
        unit="ops",
    ),
    Panel(
        "Deliveries by channel",
        "Every channel in use has its line.",
        ((f'sum by (channel) (rate(carillon_deliveries_total{{outcome="delivered"}}[{_RATE}]))', "{{channel}}"),),
        unit="ops",
    ),
    Panel(
        "Burn rate of the error budget, last hour",
        "Below 1: a month's budget lasts a month. 14.4 wakes somebody.",
        (("carillon:late_deliveries:burn_rate1h", "{{channel}} {{priority}}"),),
    ),
    _OPEN,
    _OLDEST,
    _ALERTS,
    _AWAY,
    Panel(
        "Processes that answer",
        "As many as were deployed.",
        (('sum by (service) (up{job="carillon"})', "{{service}}"),),
    ),
)

_CHANNEL = 'channel="$channel"'
CHANNEL = (
    Panel(
        "How deliveries end",
        "Delivered far above the rest.",
        ((f"sum by (outcome) (rate(carillon_deliveries_total{{{_CHANNEL}}}[{_RATE}]))", "{{outcome}}"),),
        unit="ops",
    ),
    Panel(
        "Why they were not delivered",
        "Preferences and missing addresses; few dead letters.",
        (
            (
                (
                    "sum by (outcome, reason) "
                    f'(rate(carillon_deliveries_total{{{_CHANNEL}, outcome!="delivered"}}[{_RATE}]))'
                ),
                "{{outcome}} {{reason}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Attempts by outcome",
        "ok far above the rest.",
        (
            (
                f"sum by (provider, outcome) (rate(carillon_attempts_total{{{_CHANNEL}}}[{_RATE}]))",
                "{{provider}} {{outcome}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Time of an attempt, p99",
        "What the provider usually takes.",
        ((f"carillon:attempt_duration_seconds:p99_5m{{{_CHANNEL}}}", "{{provider}}"),),
        unit="s",
    ),
    Panel(
        "Acceptance to the provider's answer, p99",
        "Within the objective of each priority: docs/guides/monitoring.md.",
        ((f"carillon:delivery_latency_seconds:p99_5m{{{_CHANNEL}}}", "{{priority}}"),),
        unit="s",
    ),
    Panel(
        "Open deliveries",
        "Returns to where it was after every peak.",
        ((f"carillon:open_deliveries{{{_CHANNEL}}}", "open"),),
    ),
    Panel(
        "Paused providers",
        "0: nobody refuses us, and none is paused by hand.",
        (
            (f"max by (provider) (carillon_provider_paused{{{_CHANNEL}}})", "{{provider}}"),
            (f"max by (provider) (carillon_provider_paused_by_hand{{{_CHANNEL}}})", "{{provider}} by hand"),
        ),
    ),
    Panel(
        "Addresses forgotten",
        "A trickle. A step is a fault of ours or theirs; the limit is 1 then.",
        (
            (f"sum(rate(carillon_forgotten_addresses_total{{{_CHANNEL}}}[{_RATE}]))", "forgotten"),
            (f"max(carillon_forgetting_stopped{{{_CHANNEL}}})", "limit reached"),
        ),
    ),
    Panel(
        "SMS: segments, caps, confirmations",
        "Of the channel sms alone. Segments are what Twilio bills.",
        (
            (f"sum by (encoding) (rate(carillon_sms_segments_total[{_RATE}]))", "segments {{encoding}}"),
            (f"sum by (cap) (rate(carillon_sms_capped_total[{_RATE}]))", "held back {{cap}}"),
            (f"sum by (outcome) (rate(carillon_sms_confirmations_total[{_RATE}]))", "confirmed {{outcome}}"),
            (f"sum by (request) (rate(carillon_sms_inbound_total[{_RATE}]))", "from people {{request}}"),
        ),
        unit="ops",
    ),
)

ROUTER = (
    Panel(
        "Publishes by kind",
        "Follows the publishers.",
        ((f"sum by (kind) (rate(carillon_notifications_total[{_RATE}])) > 0", "{{kind}}"),),
        unit="ops",
    ),
    Panel(
        "Refused publishes by code",
        "None, or few. rate_limited: a publisher is over its rate; unauthorized: its record does not allow it.",
        ((f"sum by (code) (rate(carillon_refused_publishes_total[{_RATE}])) > 0", "{{code}}"),),
    ),
    Panel(
        "Refused and repeated publishes",
        "None refused.",
        (
            (
                f'sum by (kind, outcome) (rate(carillon_notifications_total{{outcome!="accepted"}}[{_RATE}])) > 0',
                "{{kind}} {{outcome}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Driven again by the sweeper",
        "Retries and scheduled ones; a step that lasts means that a channel's processes are gone.",
        ((f"sum by (channel) (rate(carillon_redriven_deliveries_total[{_RATE}]))", "{{channel}}"),),
        unit="ops",
    ),
    _OPEN,
    Panel(
        "Audit: rows not accounted for",
        "0.",
        (("max by (channel) (carillon_audit_imbalance)", "{{channel}}"),),
    ),
    Panel(
        "Audit: overdue rows",
        "0; a few just after an outage.",
        (("max by (channel) (carillon_audit_overdue)", "{{channel}}"),),
    ),
    Panel(
        "Since the last audit",
        "About a minute.",
        (("time() - max(carillon_audit_last_success_timestamp_seconds > 0)", "age"),),
        unit="s",
    ),
    Panel(
        "Writes that too few replicas had in time",
        "0. With REDIS_WAIT_REPLICAS only.",
        ((f"sum by (service) (rate(carillon_store_short_writes_total[{_RATE}]))", "{{service}}"),),
        unit="ops",
    ),
    Panel(
        "Held, folded into digests, throttled",
        "Peaks in the evening are quiet hours; a throttle that always drops is set too low.",
        (
            (f"sum by (channel, policy) (rate(carillon_held_total[{_RATE}]))", "held {{channel}} {{policy}}"),
            (f"sum by (channel, policy) (rate(carillon_folded_total[{_RATE}]))", "folded {{channel}} {{policy}}"),
            (f"sum by (channel, policy) (rate(carillon_throttled_total[{_RATE}]))", "throttled {{channel}} {{policy}}"),
        ),
        unit="ops",
    ),
)

REALTIME = (
    Panel(
        "Open sessions",
        "Follows people's day; a fall to 0 is an outage.",
        (("carillon:realtime_sessions", "all"), ("carillon_realtime_sessions > 0", "{{instance}}")),
    ),
    Panel(
        "Inbox deliveries",
        "Delivered alone.",
        ((f'sum by (outcome) (rate(carillon_deliveries_total{{channel="realtime"}}[{_RATE}]))', "{{outcome}}"),),
        unit="ops",
    ),
    Panel(
        "Acceptance to the inbox, p99",
        "Far below a second.",
        (('carillon:delivery_latency_seconds:p99_5m{channel="realtime"}', "{{priority}}"),),
        unit="s",
    ),
    Panel(
        "Oldest open inbox delivery",
        "Seconds at most.",
        (('max(carillon_oldest_open_delivery_age_seconds{channel="realtime"})', "age"),),
        unit="s",
    ),
    Panel(
        "Processor time of a process",
        "Below its limit.",
        ((f'rate(process_cpu_seconds_total{{job="carillon", service="realtime"}}[{_RATE}])', "{{instance}}"),),
        unit="percentunit",
    ),
    Panel(
        "Memory of a process",
        "Level while the sessions are.",
        (('process_resident_memory_bytes{job="carillon", service="realtime"}', "{{instance}}"),),
        unit="bytes",
    ),
)

ON_CALL = (
    Panel(
        "Critical alerts accepted",
        "Few.",
        (
            (
                (
                    "sum by (kind) "
                    '(increase(carillon_notifications_total{priority="critical", outcome="accepted"}[1h])) > 0'
                ),
                "{{kind}}",
            ),
        ),
    ),
    Panel(
        "Escalations that nobody answered",
        "None.",
        (("sum(increase(carillon_exhausted_escalations_total[1h]))", "exhausted"),),
    ),
    Panel(
        "Nobody to tell",
        "None: somebody is on call for every type, or there are admins.",
        (('sum(increase(carillon_deliveries_total{reason="no_recipient"}[1h]))', "no recipient"),),
    ),
    Panel(
        "Critical deliveries: acceptance to the provider's answer, p99",
        "Below 10 seconds.",
        (('carillon:delivery_latency_seconds:p99_5m{priority="critical"}', "{{channel}}"),),
        unit="s",
    ),
    Panel(
        "Burn rate of critical deliveries",
        "Below 1.",
        (
            ('carillon:late_deliveries:burn_rate5m{priority="critical"}', "{{channel}} 5m"),
            ('carillon:late_deliveries:burn_rate1h{priority="critical"}', "{{channel}} 1h"),
        ),
    ),
    Panel(
        "Answers by SMS",
        "Follows the alerts.",
        ((f'sum(rate(carillon_sms_inbound_total{{request="acknowledge"}}[{_RATE}]))', "acknowledged"),),
        unit="ops",
    ),
    _ALERTS,
    Panel(
        "Paused providers",
        "0: every way to people on call is open.",
        (
            ("max by (channel, provider) (carillon_provider_paused) > 0", "{{channel}} {{provider}}"),
            ("max by (channel, provider) (carillon_provider_paused_by_hand) > 0", "{{channel}} {{provider}} by hand"),
        ),
    ),
)

_OLDER = "histogram_quantile({part}, sum by (severity, le) (rate(carillon_alert_{what}_seconds_bucket[{over}])))"


def _times(what: str, over: str = "6h") -> tuple[tuple[str, str], ...]:
    """Return how long half of the alerts took, and nine of ten."""
    return tuple(
        (_OLDER.format(part=part, what=what, over=over), f"{{{{severity}}}} {words}")
        for part, words in ((0.5, "half"), (0.9, "nine of ten"))
    )


ROTA = (
    Panel(
        "Times at which nobody is on call",
        "0. Fill them with overrides: carillon oncall gaps.",
        (("max by (within) (carillon_oncall_gaps)", "within {{within}}"),),
    ),
    Panel(
        "Time until the first gap",
        "Nothing: no gap within seven days.",
        (("min(carillon_oncall_next_gap_seconds) < +Inf", "gap"),),
        unit="s",
    ),
    Panel(
        "Open incidents",
        "Few, and those are acknowledged.",
        (("max by (state) (carillon_open_incidents)", "{{state}}"),),
    ),
    Panel(
        "Escalations that nobody answered, and warnings",
        "None. gap: before a time without anybody; reach: before a turn of somebody out of reach.",
        (
            ("sum(increase(carillon_exhausted_escalations_total[1h]))", "exhausted"),
            ("sum by (about) (increase(carillon_oncall_warnings_total[1h]))", "warned {{about}}"),
        ),
    ),
    Panel("Alert to the provider's answer", "Seconds.", _times("told"), unit="s"),
    Panel("Alert to the first acknowledgement", "Minutes for critical ones.", _times("acknowledged", "1d"), unit="s"),
    Panel("Alert to its end", "As long as such trouble takes.", _times("resolved", "1d"), unit="s"),
    Panel(
        "On-call entries that cannot be read or published",
        "0.",
        (("max(carillon_oncall_unwatched_entries)", "entries"),),
    ),
    Panel(
        "Since the entries were last looked at",
        "About a minute.",
        (("time() - max(carillon_oncall_last_look_timestamp_seconds > 0)", "age"),),
        unit="s",
    ),
    _ALERTS,
)

BOARDS = {
    "overview": OVERVIEW,
    "channel": CHANNEL,
    "router": ROUTER,
    "realtime": REALTIME,
    "alerts-and-on-call": ON_CALL,
    "on-call": ROTA,
}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard as Grafana reads it, by the name of its file."""
    return {name: _dashboard(name, panels) for name, panels in BOARDS.items()}


def expressions(channel: str = "email") -> list[str]:
    """Return every panel's expressions, Grafana's variables filled in."""
    return [
        filled_in(expression, channel)
        for panels in BOARDS.values()
        for panel in panels
        for expression, _ in panel.queries
    ]


def filled_in(expression: str, channel: str) -> str:
    """Return an expression as Grafana would send it, with a rate over five minutes."""
    return expression.replace(_RATE, "5m").replace("$channel", channel)


def _dashboard(name: str, panels: Sequence[Panel]) -> dict[str, Any]:
    title = f"Carillon: {name.replace('-', ' ')}"
    board = Dashboard(title).uid(f"carillon-{name}").tags(["carillon"]).refresh("30s").time("now-6h", "now")
    board = board.with_variable(DatasourceVariable("source").label("Prometheus").type("prometheus"))
    if any("$channel" in expression for panel in panels for expression, _ in panel.queries):
        values = QueryVariable("channel").query("label_values(carillon_open_deliveries, channel)").datasource(_SOURCE)
        board = board.with_variable(values.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED))
    top = 0
    for number, panel in enumerate(panels):
        right = number % 2
        height = _STAT_HEIGHT if panel.shape == "number" else _HEIGHT
        board = board.with_panel(panel.build(GridPos(h=height, w=_WIDTH, x=right * _WIDTH, y=top)))
        top += height * right
    drawn: dict[str, Any] = json.loads(JSONEncoder().encode(board.build()))
    return drawn
