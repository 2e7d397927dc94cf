"""Header injection: ten thousand hostile subjects, names and addresses, and the bytes that arrive at a relay."""

import asyncio
import random
import re
from email import message_from_bytes
from email.policy import SMTP

import pytest

from services.email.mime import field_names
from shared.core.errors import PermanentFailure
from shared.core.model import Content, EmailAddress
from shared.delivery.attempt import Attempt, Receipt
from tests.attempts import outcome
from tests.smtp import Relay, attempt, email_settings, open_smtp, relay

MAILS = 10_000
SEED = 20260105

EXPECTED = [
    "from", "to", "subject", "date", "message-id", "auto-submitted", "x-carillon-notification", "mime-version",
    "content-type",
]  # fmt: skip
# What has fooled somebody's mail library: line ends of every kind, encoded words, comments, quotes, folding, groups.
PIECES = (
    "\r\n", "\n", "\r", "\r\n ", "\r\n\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\t", "\x7f",
    "=?utf-8?q?=0D=0ABcc:_x?=", "=?", "?=", "=?us-ascii?b?DQpCY2M6IHg=?=", "Bcc: victim@example.com", "Bcc:", "To: ",
    "\r\nBcc: victim@example.com\r\n", "%0d%0aBcc:", "\\r\\n", '"', "\\", "'", "<", ">", "(", ")", ",", ";", ":", "@",
    "[", "]", ".", "--", "=_", "é", "ß", "🙂", "\u202e", "\u200b", "漢字", "\ufeff", " ", "a", "Hello", "x" * 70,
    "x" * 998, "<victim@example.com>", "user@example.com", "group:a@example.com;", "RCPT TO:<victim@example.com>",
    "DATA", ".\r\n",
)  # fmt: skip


def hostile(dice: random.Random, pieces: tuple[str, ...] = PIECES) -> str:
    return "".join(dice.choices(pieces, k=dice.randint(0, 6)))


def hostile_attempt(dice: random.Random) -> Attempt:
    """Make an attempt of which one, two or all three texts are hostile; a third of all hold no line end."""
    pieces = (
        PIECES if dice.random() < 0.66 else tuple(each for each in PIECES if each.isprintable() and "=?" not in each)
    )
    texts = {"title": "Hello", "name": "Somebody", "email": "user123@example.com"}
    for chosen in dice.sample(sorted(texts), k=dice.choice((1, 1, 2, 3))):
        texts[chosen] = hostile(dice, pieces)
    usual = attempt()
    # Not validated: what intake would have refused must be harmless all the same.
    address = EmailAddress.model_construct(to="email", email=texts["email"], name=texts["name"])
    delivery = usual.delivery.model_copy(
        update={"address": address, "content": Content.model_construct(title=texts["title"], message="m")}
    )
    return Attempt(usual.notification, delivery, number=1, in_doubt=False, deadline=usual.deadline)


@pytest.mark.timeout(300)
async def test_no_text_adds_or_changes_a_header_field_or_a_recipient() -> None:
    # Ten thousand mails take minutes where asyncio notes where each of its tasks was made.
    asyncio.get_running_loop().set_debug(False)
    dice = random.Random(SEED)  # noqa: S311 - the same texts every time
    attempts = [hostile_attempt(dice) for _ in range(MAILS)]
    ends: list[object] = []
    async with relay() as scripted:
        settings = email_settings(scripted.url)
        provider = open_smtp(settings)

        async def send(share: list[Attempt]) -> None:
            ends.extend([await outcome(provider, one) for one in share])

        async with asyncio.TaskGroup() as senders:
            for number in range(4):
                senders.create_task(send(attempts[number::4]), name=f"sender-{number}")
        await provider.close()
    taken = sum(isinstance(end, Receipt) for end in ends)
    assert taken + sum(isinstance(end, PermanentFailure) for end in ends) == MAILS
    # Both ways are tried often enough to say something.
    assert min(taken, MAILS - taken) > MAILS // 10
    check(scripted, taken)


def check(scripted: Relay, taken: int) -> None:
    """Check the envelopes and the header of what arrived, with two readers."""
    assert len(scripted.mails) == taken
    assert set(scripted.commands) == {"EHLO", "MAIL", "RCPT", "DATA", "QUIT"}
    assert scripted.commands.count("RCPT") == taken
    for raw in scripted.mails:
        assert field_names(raw) == EXPECTED
        message = message_from_bytes(raw, policy=SMTP)
        assert [name.lower() for name in message.keys()] == EXPECTED  # noqa: SIM118 - a mail's fields may repeat
        assert len(message["To"].addresses) == 1
        assert re.fullmatch(r"[^\r\n]*", str(message["Subject"]))
