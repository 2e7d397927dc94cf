"""One-time links: whoever can write to the store as an operator can let one person in, once, for a while.

Promises that a link is taken once, however many try it at the same moment, and that the store does not hold it: only
its hash.
"""

import hashlib
import json
import secrets
from datetime import timedelta

from carillon.console.roles import Role
from shared.store.keys import Keys
from shared.store.replies import read_object
from shared.store.store import Store

PATH = "/sign-in"
# Of the query of a link.
PARAMETER = "link"
# The link that is printed at start waits for somebody who installs something first.
START_FOR = timedelta(hours=12)
ASKED_FOR = timedelta(minutes=15)
LONGEST = timedelta(days=1)
_TOKEN_BYTES = 32
TOKEN_CHARS = 100


async def new_link(store: Store, keys: Keys, base_url: str, *, who: str, role: Role, lifetime: timedelta) -> str:
    """Make a link to the console at ``base_url``.

    Raises:
        StoreUnavailable: there is no link.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    document = json.dumps({"who": who, "role": role.word})
    await store.command("SET", _key(keys, token), document, "EX", round(lifetime.total_seconds()), lasting=True)
    return f"{base_url.rstrip('/')}{PATH}?{PARAMETER}={token}"


async def take(store: Store, keys: Keys, token: str) -> tuple[str, Role] | None:
    """Return who comes with a link, in which role; None where it is used, over or none of ours."""
    if not token or len(token) > TOKEN_CHARS:
        return None
    # Not safe to repeat where the answer is lost: then the link is used, and another is made.
    document = read_object(await store.command("GETDEL", _key(keys, token), lasting=True))
    role, who = Role.of(document.get("role")), document.get("who")
    return (who, role) if role is not None and isinstance(who, str) else None


def _key(keys: Keys, token: str) -> str:
    return f"{keys.console}:link:{hashlib.sha256(token.encode(errors='replace')).hexdigest()}"
