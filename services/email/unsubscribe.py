"""The header fields with which a mail program offers to unsubscribe (RFC 2369, RFC 8058)."""

from dataclasses import dataclass, field
from urllib.parse import quote

from shared.directory.suppression import digest
from shared.directory.unsubscribe import PATH, token


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Makes one-click links.

    Attributes:
        url: where the realtime service is reached from outside, without a slash at its end.
        secret: signs the links; the realtime service has the same one.
    """

    url: str
    secret: str = field(repr=False)

    def fields(self, address: str, category: str) -> dict[str, str]:
        """Write the header fields of a mail of this category to this address."""
        link = f"{self.url}{PATH}?token={quote(token(self.secret, digest(address), category))}"
        return {
            "List-Unsubscribe": f"<{link}>",
            # RFC 8058, 3.1: the value is fixed, and the link takes a POST.
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
