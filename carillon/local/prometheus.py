"""A Prometheus for the system on this machine, if one is installed.

Promises the labels that the rules and dashboards need. Storage in the data folder is bounded: two days, and not much
more than 256 MB. It listens on the loopback address. Its page shows alerts, but nobody is notified of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from carillon.local.child import Child
from carillon.local.ports import LOOPBACK
from carillon.local.servers import ROOT, find_server

RULES = ROOT / "deploy" / "monitoring" / "rules.yaml"
# One page with the dashboards, as links into the expression browser.
CONSOLES = ROOT / "deploy" / "monitoring" / "consoles"
DASHBOARDS = "consoles/carillon.html"

_INTERVAL_S = 15.0
_RETENTION = ("--storage.tsdb.retention.time=2d", "--storage.tsdb.retention.size=256MB")
_ANSWER_WITHIN_S = 2.0


def local_prometheus(
    data: Path, port: int, targets: Mapping[str, str], *, rules: Path = RULES, interval_s: float = _INTERVAL_S
) -> Child | None:
    """Return a Prometheus of this machine, not started yet; None if none is installed.

    Args:
        data: folder that takes its configuration, its storage and its log.
        port: loopback port of its page.
        targets: the base of the ops endpoint of each service, by the service's name.
        rules: a rule file.
        interval_s: between two scrapes, and between two evaluations of the rules; whole milliseconds.
    """
    program = find_server("prometheus")
    if program is None:
        return None
    folder = data / "prometheus"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    configuration = folder / "prometheus.yaml"
    configuration.write_text(_configuration(targets, rules, interval_s))
    url = prometheus_url(port)
    return Child(
        "prometheus",
        [
            str(program),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            *_RETENTION,
            f"--web.listen-address={LOOPBACK}:{port}",
            f"--web.console.templates={CONSOLES}",
            "--log.level=warn",
        ],
        log=data / "logs" / "prometheus.log",
        ready=lambda: _is_ready(url),
        working_folder=folder,
    )


def prometheus_url(port: int) -> str:
    """Return where its page is."""
    return f"http://{LOOPBACK}:{port}"


def _configuration(targets: Mapping[str, str], rules: Path, interval_s: float) -> str:
    interval = f"{round(interval_s * 1000)}ms"
    scraped = [
        {"targets": [url.removeprefix("http://")], "labels": {"service": service}} for service, url in targets.items()
    ]
    content = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "carillon", "static_configs": scraped}],
    }
    # JSON is YAML, too.
    return json.dumps(content, indent=2)


async def _is_ready(url: str) -> bool:
    timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/-/ready") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
