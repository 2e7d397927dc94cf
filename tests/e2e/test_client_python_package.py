"""The Python client as a backend team has it: built, installed into a fresh environment, and used with its examples."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from carillon.local.servers import ROOT
from tests.conftest import need

CLIENT = ROOT / "clients" / "python"
EXAMPLES = CLIENT / "examples"
UV = [sys.executable, "-m", "uv"]

AGAINST_A_REAL_ONE = """
    import subprocess, sys

    from carillon_publisher import Publisher


    def test_a_mail_arrives(carillon):
        with Publisher(carillon.mqtt_url) as publisher:
            publisher.send_email("user@example.com", subject="Welcome", body="Thank you.")
        (mail,) = carillon.sent(to="user@example.com")
        assert mail["title"] == "Welcome"


    def test_a_publisher_with_a_name_is_answered_under_it(carillon):
        with Publisher(carillon.mqtt_url, name="shop") as publisher:
            assert publisher.send_user("user123", message="Hello", id="order-17").status == "accepted"
        with Publisher(carillon.mqtt_url, name="other") as publisher:
            assert publisher.send_user("user123", message="Hello", id="order-17").status == "accepted"


    def test_a_first_notification_is_in_the_inbox(carillon):
        ran = subprocess.run([sys.executable, {first!r}, carillon.mqtt_url], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.startswith("accepted ")
        assert carillon.inbox("user123")[0]["title"] == "Your order"
"""


def ran(*arguments: str | Path, **environment: str) -> str:
    """Run a program, and return what it printed; a failure shows it."""
    done = subprocess.run(  # noqa: S603 - our own
        arguments, capture_output=True, text=True, check=False, timeout=110, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as ``make packages`` does it."""
    folder = tmp_path_factory.mktemp("dist")
    options = ("--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    ran(*UV, "build", *options, CLIENT)
    (wheel,) = folder.glob("*.whl")
    assert list(folder.glob("*.tar.gz"))
    return wheel


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel and pytest."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    ran(*UV, "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    ran(*UV, "pip", "install", "--quiet", "--python", python, built, "pytest")
    return python


def test_it_needs_paho_and_nothing_else(python: Path) -> None:
    listed = ran(*UV, "pip", "list", "--quiet", "--python", python, "--format", "freeze")
    # The others are pytest's.
    ours = {line.partition("==")[0] for line in listed.splitlines()}
    assert ours - {"iniconfig", "packaging", "pluggy", "pygments", "pytest"} == {"carillon-publisher", "paho-mqtt"}
    assert ran(python, "-I", "-c", "import carillon_publisher, sys; print('httpx' in sys.modules)") == "False\n"


def test_an_http_url_without_httpx_says_what_to_install(python: Path) -> None:
    script = """
        from carillon_publisher import Publisher, WrongAddress
        try:
            Publisher("https://carillon.example.com", key="k")
        except WrongAddress as error:
            print(error)
    """
    assert "pip install 'carillon-publisher[http]'" in ran(python, "-I", "-c", textwrap.dedent(script))


def test_a_programs_unit_test_runs_with_the_fake(python: Path, tmp_path: Path) -> None:
    # Away from the repository's own configuration of pytest.
    test = Path(shutil.copy(EXAMPLES / "test_order_service.py", tmp_path))
    assert "5 passed" in ran(python, "-m", "pytest", "-p", "no:cacheprovider", test)


@pytest.mark.slow
def test_a_programs_tests_run_against_a_real_carillon(python: Path, tmp_path: Path) -> None:
    need("mosquitto")
    need("redis-server")
    test = tmp_path / "test_real.py"
    test.write_text(textwrap.dedent(AGAINST_A_REAL_ONE.format(first=str(EXAMPLES / "first_notification.py"))))
    carillon = Path(sys.executable).with_name("carillon")
    options = ("-p", "no:cacheprovider", "-o", f"carillon_command={carillon}", "--basetemp", tmp_path / "base")
    assert "3 passed" in ran(python, "-m", "pytest", "--rootdir", tmp_path, *options, test)


def test_without_the_command_such_tests_are_skipped_and_say_why(python: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_real.py"
    test.write_text("def test_it(carillon): pass\n")
    printed = ran(python, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--rootdir", tmp_path, test, PATH="")
    assert "1 skipped" in printed
    assert "the command carillon is not installed" in printed
