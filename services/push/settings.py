"""Settings of the push channel, whoever carries the pushes."""

from typing import ClassVar

from pydantic import Field

from shared.core.model import Channel
from shared.runtime.settings import AnswerLinkSenderSettings, AnswerLinkSettings, ChannelSettings, CommonSettings


class PushSettings(AnswerLinkSenderSettings, ChannelSettings):
    """What every provider of pushes reads; ``services.push.providers`` adds the settings of each provider."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, *AnswerLinkSettings.answer_link_prefixes, "PUSH_")
    channel: ClassVar[Channel] = Channel.PUSH

    ops_port: int = Field(9103, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    push_concurrency: int = Field(50, ge=1, le=1000, description="sends in flight")
