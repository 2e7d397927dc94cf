"""Which providers carry pushes, the preferred one first: one line each."""

from collections.abc import Sequence
from typing import Any

from services.push.apns.provider import APNS
from services.push.fcm.provider import FCM
from services.push.ntfy import NTFY
from services.push.settings import PushSettings
from services.push.webpush.provider import WEB_PUSH
from shared.runtime.providers import Parts, ProviderKind, groups_of

PROVIDERS: Sequence[ProviderKind[Any, Parts[PushSettings]]] = [
    APNS,
    FCM,
    WEB_PUSH,
    NTFY,
]


class PushServiceSettings(PushSettings):
    """All that the push service reads: the channel's settings and those of its providers."""

    groups = groups_of(PROVIDERS)
