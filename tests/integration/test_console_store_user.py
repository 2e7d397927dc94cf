"""The console with the store's user for operators: every page is read, every action is done, and nothing is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from carillon.broker.roles import Login
from carillon.broker.rules import new_password
from carillon.console.backend import Backend
from carillon.local.servers import LocalServer
from carillon.local.stack import with_login
from carillon.store.users import STORE_ROLES, acl_file
from shared.store.store import Store
from tests.console import RULES, serving
from tests.filled_console import USER, Filler

pytestmark = pytest.mark.real_store


async def test_every_page_works_under_the_operators_own_user(
    new_store: Callable[[], LocalServer], tmp_path: Path
) -> None:
    server = new_store()
    login = Login("operator", new_password(), "operator")
    assert login.role in STORE_ROLES
    file = tmp_path / "users.acl"
    # The test itself needs no password.
    file.write_text(acl_file([login]).replace("user default off", "user default on nopass ~* &* +@all"))
    server.command += ["--aclfile", str(file)]
    server.add_logins({login.name: login.password})
    await server.start()
    url = with_login(server.url, server.credentials_of(login.name))
    async with Store(server.url) as services, Store(url) as store, serving(Backend(store, RULES)) as served:
        operator = await served.newcomer("operator")
        filler = Filler(served, [f"plain words {number}" for number in range(20)], operator, services)
        for path in await filler.everything():
            answer = await operator.get(path)
            assert answer.status == 200, (path, answer.words)
        incident = (await operator.get("/incidents")).text.partition('href="/incidents/')[2].partition('"')[0]
        silence = (await operator.get("/silences")).text.partition('action="/silences/')[2].partition('/end"')[0]
        until = (await operator.get("/dead-letters/replay")).text.partition('name="until" value="')[2].partition('"')[0]
        done = {
            f"/incidents/{incident}/acknowledge": {}, f"/incidents/{incident}/snooze": {"for": "1h"},
            f"/incidents/{incident}/reassign": {"to": "admins"}, f"/incidents/{incident}/resolve": {},
            f"/silences/{silence}/end": {}, "/providers/email/p0/resume": {}, f"/people/{USER}/reveal": {},
            "/dead-letters/replay": {"until": until}, "/audit": {"since": "1h"}, "/find": {"q": USER},
            "/explain": {"topic": f"notifications/realtime/user/{USER}", "payload": '{"message": "Hello"}'},
        }  # fmt: skip
        for path, fields in done.items():
            answer = await operator.act(path, **fields)
            assert answer.status in (200, 303), (path, answer.words)
        async with Redis.from_url(server.url) as client:
            assert await client.acl_log() == []
            # The console was that user, indeed.
            assert "operator" in {each["user"] for each in await client.client_list()}
