"""The brokers' own configurations, written from the table of roles.

mosquitto reads the file of its dynamic-security plugin, EMQX an ``acl.conf``. Promises that both say what
``carillon.broker.roles`` says, and that neither holds a password.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from carillon.broker.roles import ANSWERING, CLIENT_ID, Login, Role, is_shared, roles, whoever_is_on_this_machine

# mosquitto_dynamic_security.so, 2.0: PBKDF2 with SHA-512 over a salt of 12 bytes. The passwords are random, so that the
# number of rounds adds nothing.
_ITERATIONS = 101
_SALT_BYTES = 12
_HASH_BYTES = 64


def new_password() -> str:
    """Return a password that nobody can guess and that fits into a URL."""
    return secrets.token_urlsafe(24)


def dynamic_security(logins: Iterable[Login], prefix: str = "", *, anybody: bool = False) -> str:
    """Write the file of mosquitto's dynamic-security plugin.

    Args:
        logins: who may connect.
        prefix: the services' ``TOPIC_PREFIX``.
        anybody: for a broker that only this machine reaches: serve clients without a login, and let them choose any
            response topic.
    """
    table: Mapping[str, Role] = roles(prefix)
    clients: list[dict[str, Any]] = []
    written: dict[str, dict[str, Any]] = {}
    for login in logins:
        role = table[login.role]
        # The plugin of mosquitto 2.0 puts no client id into topics, so a login with topics of its own gets a role of
        # its own.
        own = f"{role.name}:{login.name}" if role.is_personal else role.name
        written[own] = {"rolename": own, "acls": _acls(role, login.name)}
        clients.append(_client(login, own, bound=role.bound))
    document = {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": clients,
        "groups": [],
        "roles": list(written.values()),
    }
    return json.dumps(document | (_with_anybody(document, prefix) if anybody else {}), indent=2) + "\n"


def _with_anybody(document: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return what changes in the document when clients without a login are served."""
    local = whoever_is_on_this_machine(prefix)
    answers = Role("answers", publish=("#",), deny_publish=(f"{prefix}internal/#",))
    for client in document["clients"]:
        if client["username"] in ANSWERING:
            # With a lower priority than the service's own role, which allows some internal topics.
            client["roles"].append({"rolename": answers.name, "priority": -1})
    return {
        "roles": [*document["roles"], *({"rolename": role.name, "acls": _acls(role, "")} for role in (local, answers))],
        "groups": [{"groupname": local.name, "roles": [{"rolename": local.name}]}],
        "anonymousGroup": local.name,
    }


def _client(login: Login, role: str, *, bound: bool) -> dict[str, Any]:
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", login.password.encode(), salt, _ITERATIONS, _HASH_BYTES)
    return {
        "username": login.name,
        **({"clientid": login.name} if bound else {}),
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": _ITERATIONS,
        "roles": [{"rolename": role, "priority": 0}],
    }


def _acls(role: Role, client_id: str) -> list[dict[str, Any]]:
    """Write a role's rules; an exception comes before what it is an exception from."""
    rules: list[tuple[str, str, bool]] = []
    rules += [("publishClientSend", topic, False) for topic in role.deny_publish]
    rules += [("publishClientReceive", topic, False) for topic in role.deny_receive]
    rules += [
        ("subscribePattern" if each.endswith("/#") else "subscribeLiteral", each, False) for each in role.deny_subscribe
    ]
    rules += [("publishClientSend", topic, True) for topic in role.publish]
    rules += [("publishClientReceive", topic, True) for topic in role.receive]
    rules += [("subscribeLiteral" if is_shared(each) else "subscribePattern", each, True) for each in role.subscribe]
    return [
        {"acltype": kind, "topic": topic.replace(CLIENT_ID, client_id), "priority": 0 if allow else 1, "allow": allow}
        for kind, topic, allow in rules
    ]


def emqx_acl(logins: Iterable[Login], prefix: str = "") -> str:
    """Write EMQX's ``acl.conf``; to be used with ``authorization.no_match = deny``.

    EMQX looks at a shared subscription's filter without its group, and takes the first rule that matches.
    """
    table = roles(prefix)
    lines = ["%% Written by `carillon broker-roles`; the first rule that matches is taken."]
    for login in logins:
        role = table[login.role]
        who = f'{{username, "{login.name}"}}'
        if role.bound:
            lines.append(
                f'{{deny, {{\'and\', [{who}, {{clientid, {{re, "^(?!{_quoted(login.name)}$)"}}}}]}}, all, ["#"]}}.'
            )
        lines += _emqx_rules("deny", who, "publish", [_emqx(each, login.name) for each in role.deny_publish])
        lines += _emqx_rules(
            "deny", who, "subscribe", [_emqx(each, login.name, exact=True) for each in role.deny_subscribe]
        )
        lines += _emqx_rules("allow", who, "publish", [_emqx(each, login.name) for each in role.publish])
        lines += _emqx_rules(
            "allow", who, "subscribe", [_emqx(each, login.name, exact=is_shared(each)) for each in role.subscribe]
        )
    return "\n".join([*lines, "{deny, all}."]) + "\n"


def _emqx_rules(verdict: str, who: str, action: str, topics: list[str]) -> list[str]:
    return [f"{{{verdict}, {who}, {action}, [{', '.join(topics)}]}}."] if topics else []


def _emqx(topic_filter: str, client_id: str, *, exact: bool = False) -> str:
    bare = topic_filter.split("/", 2)[2] if is_shared(topic_filter) else topic_filter
    text = json.dumps(bare.replace(CLIENT_ID, client_id))
    return f"{{eq, {text}}}" if exact else text


def _quoted(name: str) -> str:
    # A login's only character with a meaning in a regular expression is the dot. Erlang reads the backslash twice.
    return name.replace(".", "\\\\.")
