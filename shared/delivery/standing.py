"""How a provider stands, as one process sees it: what the process tells others of it, and how they read that."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# Of what a provider said. Its answer stands in the log in full.
DETAIL_CHARS = 200


class ProviderState(StrEnum):
    """How a provider is, from the best to the worst."""

    WELL = "well"
    UNKNOWN = "unknown"
    """Nothing was sent since the process began."""
    AVOIDED = "avoided"
    """It failed or is slow: others are asked first."""
    LIMITED = "limited"
    """It told us to wait."""
    DOWN = "down"
    """It has lately failed for everybody."""
    PAUSED = "paused"
    """It refuses us, whoever the recipient is."""

    @property
    def badness(self) -> int:
        """How bad it is, to find the worst of several."""
        return list(ProviderState).index(self)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one provider stands.

    Attributes:
        reason: why it is not well, a word of ``Reason``; ``detail``: what it said last.
        server: which one, where a provider stands for several.
        for_s: for how long it has been so.
        again_in_s: when it is asked again, where it told us or is avoided.
        in_flight: attempts that are under way.
        is_paused_by_hand: the process knows that somebody has paused it, and begins none.
    """

    provider: str
    state: ProviderState
    reason: str = ""
    detail: str = ""
    server: str = ""
    for_s: float = 0.0
    again_in_s: float | None = None
    in_flight: int = 0
    is_paused_by_hand: bool = False

    def document(self) -> dict[str, Any]:
        """Write it for the store; what is not known is left out."""
        texts = {"reason": self.reason, "detail": self.detail[:DETAIL_CHARS], "server": self.server}
        known = {name: text for name, text in texts.items() if text}
        again = {} if self.again_in_s is None else {"again_in_s": round(self.again_in_s, 1)}
        again |= {"in_flight": self.in_flight} if self.in_flight else {}
        again |= {"paused_by_hand": True} if self.is_paused_by_hand else {}
        return {"provider": self.provider, "state": self.state.value, **known, "for_s": round(self.for_s, 1), **again}

    @classmethod
    def read(cls, document: object) -> "Standing | None":
        """Read what ``document`` wrote; None where it is something else, or a later release's."""
        if not isinstance(document, Mapping) or document.get("state") not in list(ProviderState):
            return None
        again_in_s = document.get("again_in_s")
        return cls(
            provider=str(document.get("provider", "")),
            state=ProviderState(document["state"]),
            reason=str(document.get("reason", "")),
            detail=str(document.get("detail", "")),
            server=str(document.get("server", "")),
            for_s=_number(document.get("for_s")),
            again_in_s=None if again_in_s is None else _number(again_in_s),
            in_flight=round(_number(document.get("in_flight"))),
            is_paused_by_hand=document.get("paused_by_hand") is True,
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
