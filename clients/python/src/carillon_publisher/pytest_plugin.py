"""The fixture ``carillon`` for pytest: a real Carillon on free ports, started once for all the tests that use it.

    def test_a_mail_arrives(carillon):
        with Publisher(carillon.mqtt_url) as publisher:
            publisher.send_email("user@example.com", subject="Welcome", body="Thank you.")
        (mail,) = carillon.sent(to="user@example.com")

Tests that use it are skipped where the command ``carillon`` is not installed. The option ``carillon_command`` in
pytest's configuration says where it is, if it is neither beside Python nor on the path.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from carillon_publisher.testing.running import RunningCarillon, command, running


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addini("carillon_command", "the command carillon, for tests against a real one", default="")


@pytest.fixture(scope="session")
def carillon(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCarillon]:
    """A real Carillon, see ``RunningCarillon``."""
    said = str(pytestconfig.getini("carillon_command"))
    found = Path(said) if said else command()
    if found is None:
        pytest.skip("the command carillon is not installed; set carillon_command to where it is")
    with running(found, tmp_path_factory.mktemp("carillon")) as up:
        yield up
