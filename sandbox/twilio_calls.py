"""The calls that Twilio makes to its customer: status callbacks and inbound messages, signed.

Promises Twilio's form fields and signature, and the callbacks of one message in their order, with one try each as
Twilio does by default. Memory is bounded: while ``QUEUE`` messages wait, later ones get no callback.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import aiohttp

_log = logging.getLogger(__name__)

QUEUE = 50_000
_CALLERS = 4
# twilio.com/docs/usage/webhooks/webhooks-connection-overrides: the default read timeout.
_TIMEOUT_S = 15
_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """What callbacks say of a message."""

    sid: str
    account_sid: str
    sender: str
    to: str


@dataclass(frozen=True, slots=True)
class _Callbacks:
    url: str
    message: Message
    statuses: Sequence[str]
    code: str | None


def signature(token: str, url: str, form: dict[str, str]) -> str:
    """Sign a call: HMAC-SHA1 over the URL and the sorted fields (twilio.com/docs/usage/security)."""
    text = url + "".join(f"{name}{value}" for name, value in sorted(form.items()))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


class TwilioCalls:
    """Makes the calls, in tasks of its own.

    Args:
        token: the account's, to sign with.
        inbound_url: where inbound messages go, None for nowhere.
    """

    def __init__(self, token: str, inbound_url: str | None) -> None:
        self._token = token
        self.inbound_url = inbound_url
        self._queue: asyncio.Queue[_Callbacks] = asyncio.Queue(QUEUE)
        self._session: aiohttp.ClientSession | None = None
        self._callers: list[asyncio.Task[None]] = []

    def tell(self, url: str, message: Message, statuses: Sequence[str], code: str | None = None) -> None:
        """Report a message's statuses, one after the other.

        Args:
            code: the error code that goes with the last one.
        """
        if not self._callers:
            loop = asyncio.get_running_loop()
            self._callers = [loop.create_task(self._call_forever(), name="twilio-callbacks") for _ in range(_CALLERS)]
        try:
            self._queue.put_nowait(_Callbacks(url, message, statuses, code))
        except asyncio.QueueFull:
            _log.warning("Too many callbacks wait; one was dropped.")

    async def send_inbound(self, account_sid: str, sender: str, to: str, body: str) -> tuple[int, str | None]:
        """Hand over a message that somebody sent. Return the status of the answer, and the text to send back.

        Raises:
            aiohttp.ClientError, TimeoutError: there is none.
        """
        sid = f"SM{secrets.token_hex(16)}"
        form = {"MessageSid": sid, "SmsMessageSid": sid, "SmsSid": sid, "AccountSid": account_sid, "From": sender,
                "To": to, "Body": body, "NumMedia": "0", "NumSegments": "1", "ApiVersion": "2010-04-01"}  # fmt: skip
        status, content = await self._post(self.inbound_url or "", form)
        return status, _said(content)

    async def close(self) -> None:
        """End the tasks; what waits is dropped."""
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _call_forever(self) -> None:
        while True:
            each = await self._queue.get()
            for status in each.statuses:
                form = {"MessageSid": each.message.sid, "SmsSid": each.message.sid, "MessageStatus": status,
                        "SmsStatus": status, "AccountSid": each.message.account_sid, "From": each.message.sender,
                        "To": each.message.to, "ApiVersion": "2010-04-01"}  # fmt: skip
                if each.code is not None and status == each.statuses[-1]:
                    form["ErrorCode"] = each.code
                try:
                    await self._post(each.url, form)
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    _log.warning("A status callback was not answered: %s", type(error).__name__)

    async def _post(self, url: str, form: dict[str, str]) -> tuple[int, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        headers = {"X-Twilio-Signature": signature(self._token, url, form)}
        async with self._session.post(url, data=form, headers=headers, allow_redirects=False) as answer:
            content = await answer.content.read(_ANSWER_BYTES)
            return answer.status, content.decode("utf-8", "replace")


def _said(twiml: str) -> str | None:
    """Read TwiML's first message (twilio.com/docs/messaging/twiml); None where there is none."""
    try:
        message = ET.fromstring(twiml).find("Message")  # noqa: S314 - our own service's, bounded
    except ET.ParseError:
        return None
    return None if message is None else "".join(message.itertext()).strip() or None
