"""How somebody could be reached when an alert comes: the channels beside the inbox that look as if they would work.

Promises to look at what the directory and the suppression lists say, and at what failed lately
(``shared.ledger.failed_lately``). It does not know whether a channel's provider is set up or answers. A device whose
provider said that it is gone has left the directory by then.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.core.model import Channel, Priority
from shared.directory.people import Person
from shared.directory.suppression import Suppressions, digest, refusal

_MISSING = {Channel.EMAIL: "no mail address", Channel.SMS: "no phone number", Channel.PUSH: "no device for pushes"}
_LEFT_OUT = {
    Channel.EMAIL: "this system sends no mail",
    Channel.SMS: "this system sends no SMS",
    Channel.PUSH: "this system sends no pushes",
}
_SUPPRESSED = {Channel.EMAIL: "the mail address is suppressed", Channel.SMS: "the phone number is suppressed"}
_NOTHING: Mapping[Channel, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reach:
    """What was found out about one person.

    Attributes:
        channels: those that a critical alert would take, beside the inbox.
        problems: why not the others, in words that hold nothing personal.
    """

    channels: tuple[Channel, ...]
    problems: tuple[str, ...]


async def reach(
    person: Person,
    lists: Mapping[Channel, Suppressions],
    failed: Mapping[Channel, str] = _NOTHING,
    without: Collection[Channel] = (),
) -> Reach:
    """Look at the channels of one person.

    Args:
        lists: the suppression lists of email and SMS.
        failed: channels on which the last delivery failed for good, and how, in words.
        without: channels that this system does without.
    """
    addresses = {Channel.EMAIL: person.email, Channel.SMS: person.phone}
    channels, problems = [], []
    for channel, address in addresses.items():
        if channel in without:
            problems.append(_LEFT_OUT[channel])
        elif address is None:
            problems.append(_MISSING[channel])
        elif refusal(channel, await lists[channel].entries(digest(address)), Priority.CRITICAL, None) is not None:
            problems.append(_SUPPRESSED[channel])
        elif channel in failed:
            problems.append(failed[channel])
        else:
            channels.append(channel)
    if Channel.PUSH in without:
        problems.append(_LEFT_OUT[Channel.PUSH])
    elif not person.devices:
        problems.append(_MISSING[Channel.PUSH])
    elif Channel.PUSH in failed:
        problems.append(failed[Channel.PUSH])
    else:
        channels.append(Channel.PUSH)
    return Reach(tuple(channels), tuple(problems))
