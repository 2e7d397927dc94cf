"""The ledger as the previous release writes it: its scripts, kept in tests/payloads/v1_scripts, on today's store."""

from pathlib import Path

from shared.core.model import Content, Notification, Priority
from shared.ledger.new_records import GRACE_MS, NewRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Script, Store
from tests.records import now_ms

_SCRIPTS = Path(__file__).parent / "payloads" / "v1_scripts"
_RETENTION_S = 86400
_LEASE_MS = 30_000
_ATTEMPTS_KEPT = 20


def _script(name: str) -> Script:
    prelude = (_SCRIPTS / "ledger.lua").read_text()
    return Script(f"previous_{name}", f"{prelude}\n{(_SCRIPTS / f'{name}.lua').read_text()}")


_ACCEPT, _CLAIM, _FINISH = map(_script, ("accept", "claim", "finish"))


class PreviousRelease:
    """What processes of the previous release do to a ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = Keys()

    async def accept(self, *rows: NewRow, shard: int | None = None) -> str:
        """Write a notification with these deliveries and return its id."""
        notification = Notification(
            id=new_notification_id(shard),
            kind="email_send",
            priority=Priority.NORMAL,
            accepted_ms=now_ms(),
            content=Content(title="Subject", message="Body"),
        )
        args: list[str | int] = []
        for new in rows:
            row = new.row
            args += (row.lane, row.key, row.priority, "p", "", row.due_ms, row.expires_ms, GRACE_MS[row.priority])
            args.append(new.spec)
        answer = await self._store.script(
            _ACCEPT, self._keys.shard_of(notification.id), notification.id, notification.written(), "", "", 0, 0, "",
            0, "", _RETENTION_S, *args,
        )  # fmt: skip
        assert answer[0] == b"accepted"
        return notification.id

    async def end(self, notification_id: str, key: str = "email:0") -> None:
        """Claim a delivery and end it as delivered."""
        base = self._keys.shard_of(notification_id)
        ((verdict, token, *_),) = await self._store.script(
            _CLAIM, base, _LEASE_MS, _RETENTION_S, _ATTEMPTS_KEPT, notification_id, key
        )
        assert verdict == b"claimed"
        answer = await self._store.script(
            _FINISH, base, notification_id, key, token, "d", "", 0, 0, 1, "smtp|ok|||", _ATTEMPTS_KEPT, _RETENTION_S,
            "",
        )  # fmt: skip
        assert answer == b"finished"
