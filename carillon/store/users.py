"""The users of Redis: a table of which keys each reaches, and the ACL file that is written from it.

Promises that a user runs only the commands that Carillon runs, only on the keys of its own service. No user empties the
store, changes its settings, lists its keys or runs a script that was not loaded by its text. Every service writes the
ledger, because it claims and ends its own deliveries. All other keys are divided: a service writes its own, and only
reads some of the others. Carillon's scripts build some keys themselves, and Redis checks those, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from carillon.broker.roles import Login
from shared.core.errors import ConfigError

# The families of keys, by their hash tags; see ``shared.store.keys``.
_LEDGER = "{s[0-9][0-9]}*"
_LIVENESS = "{live[0-9][0-9]}*"
_USERS = "{u:*}*"
_DEVICES = "{d:*}*"
_MEMBERS = ("{g:*}:members", "{all[0-9][0-9]}:members", "{admins}:members")
_ONCALL = "{oncall}*"
_FEED = "{feed}*"
_SUPPRESSED = "{x:*}*"
_SMS = "{sms:*}*"
_CATALOGUE = ("{categories}", "{tenants}")
_RULES = "{rules:*}*"
_MUTED = "{m:*}*"
_PUBLISHERS = ("{publishers}*", "{p:*}*")
_REPORTS = "{report:*}*"
_PROVIDERS = "{providers}*"
# A service reads who has paused its providers. None pauses another's.
_PAUSED = "{providers}:paused"
_CONSOLE = "{console}*"
_ALIVE = "{alive:*}*"
_ROUTERS = ("{slots}*", "{audit}*", "{rejected}*")

# Not part of any prefix: see ``shared.store.keys.barrier_marker``.
_BARRIER = "carillon:{wait*}"

# What every user may run. @dangerous holds FLUSHALL, KEYS, CONFIG, SHUTDOWN and their like, and INFO, which is asked at
# start and once a minute. @scripting holds EVAL and the functions, of which some are in @write, too. SCAN, RANDOMKEY
# and DBSIZE look at all keys.
_COMMANDS = (
    "-@all", "+@read", "+@write", "+@connection", "-@dangerous", "-@scripting", "-scan", "-randomkey", "-dbsize",
    "+evalsha", "+script|load", "+time", "+wait", "+info", "+cluster|slots",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoreRole:
    """What the users of one role reach.

    Attributes:
        writes: patterns of the keys that it reads and writes, without the prefix.
        reads: patterns of those that it only reads.
    """

    name: str
    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()


_ALL = (
    _LEDGER,
    _LIVENESS,
    _USERS,
    _DEVICES,
    *_MEMBERS,
    _ONCALL,
    _FEED,
    _SUPPRESSED,
    _SMS,
    *_CATALOGUE,
    _RULES,
    _MUTED,
    *_PUBLISHERS,
    _REPORTS,
    _PROVIDERS,
    _CONSOLE,
    *_ROUTERS,
)
# A waiting push or mail is not sent if the reader has seen the notification meanwhile.
_SEEN = (_USERS, _FEED)

STORE_ROLES = {
    role.name: role
    for role in (
        # All but SMS records, bounce reports, what is paused, and what the console keeps.
        StoreRole(
            "router",
            (*(each for each in _ALL if each not in (_SMS, _REPORTS, _PROVIDERS, _CONSOLE)), "{alive:router}*"),
        ),
        StoreRole("email", (_LEDGER, "{x:*}:email", "{alive:email}*"), (*_SEEN, *_MEMBERS, _PAUSED)),
        StoreRole("sms", (_LEDGER, _SMS, "{x:*}:sms", "{alive:sms}*"), (*_SEEN, *_MEMBERS, _PAUSED)),
        # Forgetting a token changes its owner's record.
        StoreRole("push", (_LEDGER, _USERS, _DEVICES, *_MEMBERS, "{alive:push}*"), (_FEED, _PAUSED)),
        StoreRole(
            "realtime",
            (_LEDGER, _USERS, _DEVICES, *_MEMBERS, _FEED, "{x:*}:email", _REPORTS, _MUTED, _RULES, "{alive:realtime}*"),
            (_ONCALL, *_CATALOGUE, "{publishers}*"),
        ),
        StoreRole("operator", _ALL, (_ALIVE,)),
    )
}


def acl_file(logins: Iterable[Login], prefix: str = "") -> str:
    """Write the ``aclfile`` of Redis. Nobody else can log in.

    Args:
        logins: names, passwords and roles of this table.
        prefix: the services' ``TOPIC_PREFIX``.

    Raises:
        ConfigError: a role is not in the table, or the prefix cannot stand in a pattern.
    """
    stem = prefix.strip("/")
    if set(stem) & set("*?[]\\ "):
        raise ConfigError("TOPIC_PREFIX: no *, ?, brackets, backslash or space where the store has users")
    root = f"carillon:{stem}" if stem else "carillon"
    lines = ["user default off"]
    for login in logins:
        role = STORE_ROLES.get(login.role)
        if role is None:
            raise ConfigError(f"there is no role {login.role}; there are {', '.join(STORE_ROLES)}")
        keys = [f"~{root}:{pattern}" for pattern in role.writes] + [f"%R~{root}:{pattern}" for pattern in role.reads]
        lines.append(" ".join(("user", login.name, "on", f">{login.password}", *keys, f"~{_BARRIER}", *_COMMANDS)))
    return "\n".join(lines) + "\n"
