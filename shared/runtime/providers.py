"""How a channel declares its providers: one line each, in the channel's ``providers.py``.

``shared.delivery.provider`` is the step-by-step guide.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web

from shared.core.clock import Clock
from shared.delivery.provider import Provider
from shared.runtime.settings import ChannelSettings, GroupT, ProviderSettings

ChannelSettingsT_co = TypeVar("ChannelSettingsT_co", bound=ChannelSettings, covariant=True)


class Parts(Generic[ChannelSettingsT_co]):
    """What the providers of a channel share; a channel with more to share has a subclass."""

    def __init__(self, settings: ChannelSettingsT_co, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock


PartsT = TypeVar("PartsT", bound=Parts[Any])
# A provider may ask for less than its channel has.
PartsT_contra = TypeVar("PartsT_contra", bound=Parts[Any], contravariant=True)


# Without slots: Python 3.11 cannot make a frozen generic class with them.
@dataclass(frozen=True)
class ProviderKind(Generic[GroupT, PartsT_contra]):
    """One kind of provider.

    Attributes:
        settings: what it reads.
        build: builds what the settings ask for, the preferred one first; called inside the running loop.
        routes: the endpoints by which the provider calls us; for a channel that serves them.
    """

    settings: type[GroupT]
    build: Callable[[GroupT, PartsT_contra], Sequence[Provider]]
    routes: Callable[[GroupT, PartsT_contra], Iterable[web.RouteDef]] | None = None


def groups_of(kinds: Iterable[ProviderKind[Any, PartsT]]) -> tuple[type[ProviderSettings], ...]:
    """Return the settings of all kinds, for ``ChannelSettings.groups``."""
    return tuple(kind.settings for kind in kinds)


def build_providers(kinds: Iterable[ProviderKind[Any, PartsT]], parts: PartsT) -> tuple[Provider, ...]:
    """Build every configured provider, the preferred one first; to be called inside the running loop.

    Raises:
        ConfigError: a file that was good at the start is not any more.
    """
    return tuple(
        provider
        for kind in kinds
        if (group := parts.settings.of(kind.settings)) is not None
        for provider in kind.build(group, parts)
    )


def routes_of(kinds: Iterable[ProviderKind[Any, PartsT]], parts: PartsT) -> tuple[web.RouteDef, ...]:
    """Return the endpoints by which the configured providers call us."""
    return tuple(
        route
        for kind in kinds
        if kind.routes is not None and (group := parts.settings.of(kind.settings)) is not None
        for route in kind.routes(group, parts)
    )
