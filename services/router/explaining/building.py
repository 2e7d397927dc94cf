"""Builds an explainer on a store, with the settings that the router has."""

from collections.abc import Callable

from services.router.explaining.deciding import Decisions
from services.router.explaining.explainer import Explainer, PeekingWindows
from services.router.explaining.rules import RouterRules
from services.router.planning.lookups import Lookups
from services.router.planning.planner import Planner
from shared.core.clock import Clock
from shared.core.model import Channel
from shared.core.topics import Topics
from shared.directory.catalogue import Catalogues
from shared.directory.directory import Directory
from shared.directory.publishers import Publishers
from shared.directory.rulebook import Rulebook
from shared.directory.suppression import Suppressions
from shared.inbox.presence import Presence
from shared.ledger.digests import Digests
from shared.store.keys import Keys
from shared.store.store import Store


def explainer(store: Store, keys: Keys, topics: Topics, rules: RouterRules, clock: Clock) -> Explainer:
    """Build an explainer.

    Args:
        clock: the moment that is meant.
    """
    lists = {channel: Suppressions(store, keys, channel, clock) for channel in (Channel.EMAIL, Channel.SMS)}
    return Explainer(
        planners(store, keys, rules, lists),
        topics,
        Publishers(store, keys),
        # It only looks at digests.
        Decisions(lists, Digests(store, keys, retention_s=0)),
        lifetime_s=rules.lifetime_s,
        clock=clock,
    )


def planners(
    store: Store, keys: Keys, rules: RouterRules, lists: dict[Channel, Suppressions]
) -> Callable[[Clock], Planner]:
    """Return what makes a planner that counts nothing, for a clock."""

    def planner_at(at: Clock) -> Planner:
        lookups = Lookups(
            Directory(store, keys, at),
            Catalogues(store, keys),
            keys,
            at,
            rules.alert_escalation_after_s,
            rulebook=Rulebook(store, keys),
            presence=Presence(store, keys),
            push_hold_s=rules.push_hold_s,
            suppressions=lists,
            windows=PeekingWindows(store),
            daily_limit=rules.person_daily_limit,
            quiet_hours=rules.quiet_hours,
            release_within_s=rules.release_within_s,
        )
        return Planner(lookups, rules.templates, without=rules.without)

    return planner_at
