"""An address is checked as the library checks it, also where that is not asked about each one."""

from itertools import product

import email_validator
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from shared.core.fields import email_address

_LOCAL_PARTS = (
    "user123", "user.name+tag", "o'brien", "User123", "POSTMASTER", "postmaster", "", ".user", "user.", "a..b", '"a b"',
    '"user"', "a" * 64, "a" * 65, "müller", "a@b", "user ",
)  # fmt: skip
_DOMAINS = (
    "example.com", "EXAMPLE.com", "mail.example.com", "bücher.example.com", "xn--bcher-kva.example.com", "localhost",
    "user.test", "example.invalid", "com", "", ".", "example..com", "-a.example.com", "a_b.example.com", "[192.0.2.1]",
    "192.0.2.1", "example.com.", " example.com", "d" * 63 + ".com", "d" * 64 + ".com",
    ".".join(["d" * 60] * 4) + ".com", "xn--" + "d" * 40 + ".com", "example.com>", "a@example.com", "a.-b.com",
    "a.b-", "ab--c.com", "a.xn--bcher-kva.com", "1.2", "a.local",
)  # fmt: skip


def _by_the_library(text: str) -> str | None:
    try:
        checked = email_validator.validate_email(
            text, strict=True, allow_smtputf8=False, check_deliverability=False, test_environment=True
        )
    except email_validator.EmailNotValidError:
        return None
    return checked.ascii_email


def _by_us(text: str) -> str | None:
    try:
        return email_address(text)
    except PydanticCustomError:
        return None


@pytest.mark.parametrize(("local_part", "domain"), list(product(_LOCAL_PARTS, _DOMAINS)))
def test_an_address_becomes_what_the_library_makes_of_it(local_part: str, domain: str) -> None:
    address = f"{local_part}@{domain}"

    assert (_by_us(address), _by_us(address)) == (_by_the_library(address),) * 2


_ANY = st.text(st.sampled_from("abzAZ09._+-'\"@ \\üxn"), max_size=70)


@given(st.sampled_from(_LOCAL_PARTS) | _ANY, st.sampled_from(_DOMAINS) | _ANY)
@example("a" * 64, ".".join(["d" * 60] * 3) + ".com")
def test_so_does_whatever_somebody_writes(local_part: str, domain: str) -> None:
    address = f"{local_part}@{domain}"

    assert _by_us(address) == _by_the_library(address)
