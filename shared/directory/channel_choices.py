"""Channels that are switched on or off, as a person's choices and a category say it."""

from pydantic import StrictBool

from shared.core.channels import Channel
from shared.directory.record import Record


class ChannelChoices(Record):
    """Channels that are switched on or off; null is not chosen."""

    realtime: StrictBool | None = None
    email: StrictBool | None = None
    sms: StrictBool | None = None
    push: StrictBool | None = None

    def of(self, channel: Channel) -> bool | None:
        """Return what is chosen for a channel."""
        choice: bool | None = getattr(self, channel.value)
        return choice
