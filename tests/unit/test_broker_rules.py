"""The broker's rules for a file of logins: what a wrong file is told, and what is written for EMQX."""

import json
import re

import pytest

from carillon.broker.roles import SERVICES, Login, roles
from carillon.broker.rules import dynamic_security, emqx_acl
from carillon.commands.logins import read_logins
from shared.core.errors import ConfigError

PASSWORD = "planted-password"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("router router", "line 1: a name, a role and a password are required"),
        (f"# services\n\nrouter rooter {PASSWORD}", "line 3: there is no role rooter; there are router, "),
        (f"a/b publisher {PASSWORD}", "line 1: a login is a topic level"),
        (f"carillon named-publisher {PASSWORD}", "line 1: carillon is no login"),
        (f"a publisher {PASSWORD}\na monitor {PASSWORD}", "line 2: a is there already"),
    ],
)
def test_a_wrong_line_is_named_without_its_password(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        read_logins(text, roles())
    assert PASSWORD not in str(caught.value)


def test_no_password_stands_in_what_is_written() -> None:
    logins = read_logins("\n".join(f"{name} {name} {PASSWORD}" for name in roles()), roles())
    assert PASSWORD not in dynamic_security(logins) + emqx_acl(logins) + repr(logins)


def test_every_role_can_have_many_logins() -> None:
    document = json.loads(dynamic_security([Login("a", "x", "publisher"), Login("b", "x", "publisher")]))
    assert [client["clientid"] for client in document["clients"]] == ["a", "b"]
    assert [role["rolename"] for role in document["roles"]] == ["publisher:a", "publisher:b"]
    assert "receipts/b/#" not in json.dumps(document["roles"][0])


def test_topics_carry_the_prefix() -> None:
    logins = [Login(name, "x", name) for name in roles() if name != "monitor"]
    topics = {
        acl["topic"] for role in json.loads(dynamic_security(logins, "staging/"))["roles"] for acl in role["acls"]
    }
    assert {topic for topic in topics if not re.match(r"(\$share/[a-z]+/)?staging/", topic)} == set()


def test_emqx_gets_the_same_rules_in_its_own_words() -> None:
    lines = emqx_acl([Login("billing.1", "x", "publisher"), Login("email", "x", "email")]).splitlines()
    assert lines[1:7] == [
        r"""{deny, {'and', [{username, "billing.1"}, {clientid, {re, "^(?!billing\\.1$)"}}]}, all, ["#"]}.""",
        '{deny, {username, "billing.1"}, publish, ["notifications/events/#", "notifications/actions/#"]}.',
        '{deny, {username, "billing.1"}, subscribe, [{eq, "notifications/events/+"}]}.',
        '{allow, {username, "billing.1"}, publish, ["notifications/#", "liveness/#"]}.',
        '{allow, {username, "billing.1"}, subscribe, ["receipts/billing.1/#", "notifications/events/+", "oncall/#"]}.',
        '{allow, {username, "email"}, publish, ["notifications/events/+"]}.',
    ]
    assert '{eq, "internal/email/critical"}' in lines[7]
    assert lines[-1] == "{deny, all}."
    assert all(line.endswith("}.") for line in lines[1:])


def test_a_service_that_is_not_in_the_table_does_not_start_to_work_unnoticed() -> None:
    assert set(SERVICES) < set(roles())
