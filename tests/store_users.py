"""A store with a user for each service, and the commands that it refused them."""

from redis.asyncio import Redis

from carillon.broker.roles import Login
from carillon.broker.rules import new_password
from carillon.local.ports import LOOPBACK
from carillon.local.stack import Stack
from carillon.store.users import STORE_ROLES, acl_file

_OURS = "user default on nopass ~* &* +@all"


def give_users(stack: Stack, prefix: str = "") -> dict[str, str]:
    """Give a store that does not run yet a user for each role, and return the passwords; the test itself needs none."""
    passwords = {name: new_password() for name in STORE_ROLES}
    written = acl_file((Login(name, password, name) for name, password in passwords.items()), prefix)
    file = stack.data / "users.acl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(written.replace("user default off", _OURS))
    stack.store.command += ["--aclfile", str(file)]
    stack.store.add_logins(passwords)
    return passwords


async def refused(stack: Stack) -> list[str]:
    """Return what the store has refused: to whom, why, and what it was about."""
    async with Redis(host=LOOPBACK, port=stack.store.port, decode_responses=True) as client:
        log = await client.acl_log()
    return [f"{entry['username']}: {entry['reason']}: {entry['object']}" for entry in log]
