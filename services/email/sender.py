"""What ``EMAIL_FROM`` says: who the mail is from.

Refuses a malformed value with a sentence that does not repeat it.
"""

from dataclasses import dataclass
from email.utils import getaddresses


@dataclass(frozen=True, slots=True)
class Sender:
    """Who the mail is from."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """The part after the ``@``."""
        return self.address.rpartition("@")[2]


def parse_sender(text: str) -> Sender:
    """Read ``Name <user@example.com>`` or a bare address.

    Raises:
        ValueError: a sentence for the operator.
    """
    found = getaddresses([text])
    name, address = found[0] if len(found) == 1 else ("", "")
    local, _, domain = address.rpartition("@")
    if not local or not domain or not address.isascii() or any(not c.isprintable() or c in ' <>"' for c in address):
        raise ValueError("one address is required, for example Carillon <notifications@example.com>")
    if not name.isprintable() or "=?" in name:
        raise ValueError("the name must be one line of plain text")
    return Sender(address, name)
