"""The journal: one JSON line per effect, on disk before the sender hears about it.

Promises that once write() has returned, its line survives the death of this process and of the machine. Lines that
arrive together share one fsync, so each costs a fraction of a sync. Does not rotate the file or read it: it is for
counting effects after a crash.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path


class Journal:
    """An append-only file; run() must be a running task for write() to return."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # Bounded by the open exchanges: each of them waits for its own line.
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._stopping = False

    async def write(self, effect: Mapping[str, object]) -> None:
        """Append one effect and return once it is on disk.

        Raises:
            OSError: the line could not be written; the sender must not be told that it was.
        """
        line = json.dumps(effect, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write what waits, batch by batch, until stopped."""
        while self._waiting or not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._append, b"".join(line for line, _ in batch))
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)

    def stop(self) -> None:
        """Let run() return once nothing waits; a thread may be writing, so the file must not be closed before."""
        self._stopping = True
        self._wake.set()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _append(self, lines: bytes) -> None:
        written = 0
        while written < len(lines):
            written += os.write(self._file, lines[written:])
        os.fsync(self._file)
