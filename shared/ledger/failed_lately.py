"""What failed for good lately at a person's addresses: the newest deliveries to each, as the ledger has them.

    failed = await FailedLately(store, keys).of(person)      # channel -> why, in words that hold nothing personal
    found = await reach(person, lists, failed)               # shared.directory.reach

Promises to write nothing: a later delivery that arrives takes the failure back by itself. It looks at the newest few
deliveries of the last week at each address, within a second. What it cannot read in that time counts as well.

A mail address or a number is looked up by itself, so a failure at an address that the person had before does not count.
Devices are looked up by their person. One that its provider says is gone has left the directory, and does not count.
"""

import asyncio
from datetime import timedelta

from shared.core.clock import Clock, SystemClock
from shared.core.errors import Reason
from shared.core.model import Channel, State
from shared.directory.people import Person
from shared.ledger.finding import OUTCOMES, Finder, Page
from shared.ledger.found import NOT_ARRIVED, Filters, FoundDelivery
from shared.store.keys import Keys
from shared.store.store import Store

LATELY = timedelta(days=7)
# Notifications that are looked at for one address. Some say nothing about it, such as those that were too large.
_LOOKED_AT = 5
_TIME_LIMIT = timedelta(seconds=1)

_ENDED = OUTCOMES[State.DELIVERED.value] | OUTCOMES[State.DEAD_LETTERED.value] | OUTCOMES[NOT_ARRIVED]
# Dead letters for these reasons are about the address.
_ABOUT_ADDRESS = {Reason.REJECTED.value: "was refused for good", Reason.GONE.value: "reached nobody"}
_WORDS = {Channel.EMAIL: "mail", Channel.SMS: "SMS", Channel.PUSH: "push"}


class FailedLately:
    """Reads on one store."""

    def __init__(self, store: Store, keys: Keys, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        retention_s = round(LATELY.total_seconds())
        self._finder = Finder(store, keys, retention_s=retention_s, time_limit=_TIME_LIMIT, clock=self._clock)

    async def of(self, person: Person) -> dict[Channel, str]:
        """Return the channels on which the last delivery to this person failed for good, and how, in words.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        since = self._clock.now() - LATELY
        asked = {}
        for channel, address in ((Channel.EMAIL, person.email), (Channel.SMS, person.phone)):
            if address is not None:
                filters = Filters(channel=channel, outcomes=_ENDED)
                asked[channel] = self._finder.by_address(address, since=since, limit=_LOOKED_AT, filters=filters)
        if person.devices:
            filters = Filters(channel=Channel.PUSH, outcomes=_ENDED)
            asked[Channel.PUSH] = self._finder.by_person(person.user_id, since=since, limit=_LOOKED_AT, filters=filters)
        pages = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        problems = {channel: self._problem(channel, page) for channel, page in pages.items()}
        return {channel: problem for channel, problem in problems.items() if problem is not None}

    @staticmethod
    def _problem(channel: Channel, page: Page) -> str | None:
        """Say how the newest delivery failed that says something about the address; None where it arrived."""
        for found in page.found:
            said = [each for row in found.deliveries if (each := _said(channel, row)) is not None]
            if "" in said:
                return None
            if said:
                return f"the last {_WORDS[channel]} {said[0]}"
        return None


def _said(channel: Channel, row: FoundDelivery) -> str | None:
    """Return how a delivery failed, ``''`` for one that arrived, and None for one that says nothing of the address."""
    if row.state is State.DELIVERED:
        return "did not arrive" if row.outcome == NOT_ARRIVED else ""
    if row.reason in _ABOUT_ADDRESS and (channel, row.reason) != (Channel.PUSH, Reason.GONE):
        return _ABOUT_ADDRESS[row.reason]
    return None
