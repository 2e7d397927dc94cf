"""What a person wants to hear on which channel, and who has decided it: layers, of which the later ones win.

The layers are: the system's default, the category, the tenant's category, the directory entry, the person's own choice
for the channel, and the person's own choice for the category and channel. What nobody chose is stored as not chosen, so
that a changed default reaches those who never chose.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from shared.core.fields import Identifier
from shared.core.model import Channel
from shared.directory.categories import KnownCategory
from shared.directory.channel_choices import ChannelChoices

CATEGORIES = 200

# How often a person wants the digest of a category.
Rhythm = Literal["instant", "hourly", "daily", "weekly"]
RHYTHMS: tuple[Rhythm, ...] = ("instant", "hourly", "daily", "weekly")


class CategoryChoice(ChannelChoices):
    """What is chosen for one category.

    Attributes:
        digest: how often its digest comes; ``instant`` is no digest.
    """

    digest: Rhythm | None = None


class Preferences(ChannelChoices):
    """Which channels a person wants; critical alerts go past them."""

    categories: Annotated[dict[Identifier, CategoryChoice], Field(max_length=CATEGORIES)] = Field(default_factory=dict)

    def for_category(self, name: str | None, channel: Channel) -> bool | None:
        """Return what is chosen for a category and channel."""
        chosen = self.categories.get(name) if name is not None else None
        return None if chosen is None else chosen.of(channel)


SYSTEM_DEFAULTS = {Channel.REALTIME: True, Channel.EMAIL: True, Channel.SMS: False, Channel.PUSH: True}
NOTHING_CHOSEN = Preferences()


class Choice(NamedTuple):
    """Whether a channel is on, and who has decided it: ``user:preference:billing``.

    Attributes:
        for_category: somebody has decided it for this category, so that priority does not matter.
    """

    on: bool
    rule: str
    for_category: bool = False


_SYSTEM = {channel: Choice(on, "system:default") for channel, on in SYSTEM_DEFAULTS.items()}


def choice(
    channel: Channel,
    directory: Preferences,
    own: Preferences,
    name: str | None = None,
    category: KnownCategory | None = None,
) -> Choice:
    """Layer what was chosen for a channel.

    Args:
        directory: what the directory entry says.
        own: what the person chose.
        name: the notification's category, whether or not it is in the directory.
        category: its record, with the tenant's changes.
    """
    decided = _SYSTEM[channel]
    for each in _layers(channel, directory, own, name, category):
        decided = each
    return decided


def _layers(
    channel: Channel, directory: Preferences, own: Preferences, name: str | None, category: KnownCategory | None
) -> Iterator[Choice]:
    """List the layers above the system's default in which something is said, the weakest first."""
    opt_in = False
    if category is not None:
        policy, said = category.record.policy, category.record.channels.of(channel)
        opt_in = policy == "opt_in"
        if opt_in:
            yield Choice(False, category.rule("policy"))
        elif said is not None:
            yield Choice(said, category.rule(f"channels.{channel}"), for_category=True)
        if policy == "required":
            return
    for who, chosen in (("directory", directory), ("user", own)):
        if not opt_in and (plain := chosen.of(channel)) is not None:
            yield Choice(plain, f"{who}:preference")
        if (named := chosen.for_category(name, channel)) is not None:
            yield Choice(named, f"{who}:preference:{name}", for_category=category is not None)
