"""What it means that an attempt was cut off, by what its provider has said of how far it came."""

import asyncio
from contextlib import suppress

import pytest

from shared.core.errors import DeliveryError, OutcomeUnknown, Reason, TemporaryFailure
from shared.delivery.attempt import Handover


def end(handover: Handover) -> tuple[type[DeliveryError], Reason, str]:
    error = handover.cut_off()
    return type(error), error.reason, error.detail


IN_DOUBT = (OutcomeUnknown, Reason.TIMEOUT, "")


def test_what_nobody_says_anything_about_is_in_doubt() -> None:
    assert end(Handover()) == IN_DOUBT


def test_what_is_cut_off_while_it_waits_was_not_sent() -> None:
    handover = Handover()
    with suppress(asyncio.CancelledError), handover.waiting(Reason.OWN_LIMIT, "its turn"):
        raise asyncio.CancelledError
    assert end(handover) == (TemporaryFailure, Reason.OWN_LIMIT, "waited for its turn")


@pytest.mark.parametrize("error", [None, OSError()])
def test_a_wait_that_is_over_says_nothing_any_more(error: Exception | None) -> None:
    handover = Handover()
    with suppress(OSError), handover.waiting(Reason.TIMEOUT, "a connection"):
        if error is not None:
            raise error
    assert end(handover) == IN_DOUBT


def test_what_has_left_within_a_wait_stays_in_doubt() -> None:
    handover = Handover()
    with suppress(asyncio.CancelledError), handover.waiting(Reason.OWN_LIMIT, "its turn"):
        with handover.waiting(Reason.TIMEOUT, "a connection"):
            handover.waits_for(Reason.OWN_LIMIT, "a free one")
            assert end(handover) == (TemporaryFailure, Reason.OWN_LIMIT, "waited for a free one")
            handover.leaves()
        raise asyncio.CancelledError
    assert end(handover) == IN_DOUBT
