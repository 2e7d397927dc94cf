"""The table of the store's users, and the file that Redis reads."""

from fnmatch import fnmatchcase

import pytest

from carillon.broker.roles import SERVICES, Login
from carillon.store.users import STORE_ROLES, acl_file
from services.sms.keys import inbound_key, number_key, prefix_key
from shared.core.errors import ConfigError
from shared.store.keys import Keys


def test_every_service_and_the_operator_have_a_role() -> None:
    assert STORE_ROLES.keys() == {*SERVICES, "operator"}


def test_the_table_covers_every_family_of_keys() -> None:
    keys = Keys()
    families = [
        keys.shard(0), keys.user("u"), keys.device("d"), keys.group("g"), keys.suppressed("email", "x"),
        keys.everybody(0), keys.admins, keys.oncall, keys.feed, keys.slots, keys.audit, number_key(keys, "1"),
        prefix_key(keys, "1"), inbound_key(keys, "1"), keys.rejected, keys.categories, keys.tenants, keys.publishers,
        keys.publisher("p"), keys.providers, keys.console,
    ]  # fmt: skip
    for key in families:
        assert any(fnmatchcase(key.removeprefix("carillon:"), pattern) for pattern in STORE_ROLES["operator"].writes), (
            key
        )


def test_a_file_keeps_everybody_else_out_and_has_the_keys_of_one_prefix() -> None:
    written = acl_file([Login("mailer", "secret", "email")], "staging/")
    first, second = written.splitlines()
    assert first == "user default off"
    assert second.startswith("user mailer on >secret ~carillon:staging:{s[0-9][0-9]}* ")
    assert " %R~carillon:staging:{u:*}* " in second


@pytest.mark.parametrize("prefix", ["a*/", "[a]/", "a b/"])
def test_a_prefix_that_would_be_a_pattern_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="TOPIC_PREFIX"):
        acl_file([], prefix)


def test_a_role_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="publisher"):
        acl_file([Login("shop", "secret", "publisher")])
