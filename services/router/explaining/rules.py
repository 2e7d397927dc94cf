"""What the router goes by where something is to be decided as the router would."""

from dataclasses import dataclass, field

from services.router.templates.folder import Templates
from shared.core.model import Channel
from shared.directory.quiet_hours import QuietHours


@dataclass(frozen=True, slots=True)
class RouterRules:
    """The settings of the router that planning goes by, under their names without ``ROUTER_``.

    Attributes:
        lifetime_s: ``DELIVERY_LIFETIME_S``.
        without: ``CARILLON_WITHOUT``.
    """

    alert_escalation_after_s: float
    lifetime_s: int
    push_hold_s: float = 3
    person_daily_limit: int = 0
    quiet_hours: QuietHours | None = None
    release_within_s: float = 60
    templates: Templates = field(default_factory=dict)
    without: frozenset[Channel] = frozenset()
