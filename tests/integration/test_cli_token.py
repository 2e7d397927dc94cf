"""``carillon token``: what the token says, and where the secret comes from."""

import time
from pathlib import Path

import jwt
import pytest

from tests.command_line import CommandLine

SECRET = "s" * 32


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


async def test_a_token_names_the_user_and_ends_when_it_was_told_to(command: CommandLine) -> None:
    ran = await command("token", "user123", "--expires-in", "5m", settings={"REALTIME_JWT_SECRET": SECRET})
    assert (ran.status, ran.err) == (0, "")
    claims = jwt.decode(ran.out.strip(), SECRET, algorithms=["HS256"])
    assert claims["sub"] == "user123"
    assert claims["exp"] - claims["iat"] == 300
    assert abs(claims["iat"] - time.time()) < 120


async def test_a_token_may_be_for_one_tenant(command: CommandLine) -> None:
    settings = {"REALTIME_JWT_SECRET": SECRET}
    ran = await command("token", "user123", "--tenant", "acme", "--json", settings=settings)
    assert ran.json["tenant"] == "acme"
    assert jwt.decode(ran.json["token"], SECRET, algorithms=["HS256"])["tenant"] == "acme"
    without = await command("token", "user123", settings=settings)
    assert "tenant" not in jwt.decode(without.out.strip(), SECRET, algorithms=["HS256"])
    refused = await command("token", "user123", "--tenant", "a/b", settings=settings)
    assert (refused.status, "--tenant" in refused.err) == (2, True)


async def test_json_may_be_asked_for_before_the_command(command: CommandLine) -> None:
    ran = await command("--json", "token", "user123", settings={"REALTIME_JWT_SECRET": SECRET})
    assert ran.json["user_id"] == "user123"


async def test_a_token_carries_the_audience_and_issuer_that_the_service_asks_for(command: CommandLine) -> None:
    settings = {
        "REALTIME_JWT_SECRET": SECRET,
        "REALTIME_JWT_AUDIENCE": "carillon",
        "REALTIME_JWT_ISSUER": "https://login.example.com",
    }
    ran = await command("token", "user123", "--json", settings=settings)
    assert ran.json["user_id"] == "user123"
    claims = jwt.decode(
        ran.json["token"], SECRET, algorithms=["HS256"], audience="carillon", issuer="https://login.example.com"
    )
    assert claims["exp"] - claims["iat"] == 3600


async def test_the_secret_may_come_from_a_file(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    ran = await command("token", "user123", settings={"REALTIME_JWT_SECRET_FILE": str(tmp_path / "secret")})
    assert jwt.decode(ran.out.strip(), SECRET, algorithms=["HS256"])["sub"] == "user123"


async def test_without_a_secret_one_line_names_the_variable_and_carillon_up(command: CommandLine) -> None:
    ran = await command("token", "user123")
    assert (ran.status, ran.out) == (2, "")
    assert "REALTIME_JWT_SECRET" in ran.error_line
    assert "carillon up" in ran.error_line


async def test_a_secret_that_the_service_would_refuse_is_refused_without_being_shown(command: CommandLine) -> None:
    ran = await command("token", "user123", settings={"REALTIME_JWT_SECRET": "hunter2"})
    assert ran.status == 2
    assert "REALTIME_JWT_SECRET" in ran.error_line
    assert "hunter2" not in ran.err


@pytest.mark.parametrize("user_id", ["a/b", "", "x" * 129])
async def test_a_user_id_that_no_topic_can_carry_is_refused(command: CommandLine, user_id: str) -> None:
    ran = await command("token", user_id, settings={"REALTIME_JWT_SECRET": SECRET})
    assert ran.status == 2
    assert "USER_ID" in ran.error_line


@pytest.mark.parametrize("length", ["soon", "0", "-1h", "1y"])
async def test_a_length_of_time_that_is_none_is_refused(command: CommandLine, length: str) -> None:
    ran = await command("token", "user123", f"--expires-in={length}", settings={"REALTIME_JWT_SECRET": SECRET})
    assert ran.status == 2
    assert "--expires-in" in ran.error_line
