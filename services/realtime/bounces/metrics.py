"""The metric of the bounce reports; its labels come from fixed lists."""

from collections.abc import Iterable

from prometheus_client import Counter

from services.realtime.bounces.report import Outcome

bounces = Counter(
    "carillon_bounces",
    "What mail providers report about addresses, by what became of each entry, or of a report that is refused.",
    ["provider", "outcome"],
)


def prepare(providers: Iterable[str]) -> None:
    """Create the series of these providers at 0."""
    for provider in providers:
        for outcome in Outcome:
            bounces.labels(provider, outcome)
