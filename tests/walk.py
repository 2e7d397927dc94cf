"""Follows a Markdown page step by step, as somebody does who reads it.

What stands behind the fence of a block of code says what it is:

- ``sh`` is run. All of a page's commands run in one shell, so folders, variables and functions last. Each command must
  succeed, unless the prose behind the block says "ends with status N".
- ``text`` is what the commands before it print. Lines may come in another order.
- Any other block is a file. The last name in backticks before it is the file's name.

Ids and times of a page are not those of the run. An id stands for the one that was printed at its place, also in later
commands. A word that ends in ``…`` does the same: ``ck_…``. A ``…`` elsewhere stands for anything, and as a line of its
own for any lines.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from carillon.local.servers import ROOT

_FENCE = re.compile(r"```([a-z]*)$")
_STATUS = re.compile(r"ends with status (\d+)")
_NAMED = re.compile(r"`([^`\s]+)`")
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?"
# What differs from run to run, in the order in which it is looked for.
_DIFFERS = re.compile(rf"(?P<time>{_TIME})|(?P<id>{_ID})|(?P<word>[\w:/=.-]+…)|(?P<any>…)")
_PATTERNS = {"time": _TIME, "id": _ID, "word": r"\S+", "any": ".*"}

# What a test does in the place of commands; it is given the shell's folder.
Instead = Callable[[Path], Awaitable[None] | None]

_ENDS_WITHIN_S = 90.0
_OUTPUT_BYTES = 2**20
# A command that fails in the middle of a block counts as well as the last one.
_RUN = """\
status=0; trap 'status=$?' ERR; . {block} </dev/null >{output} 2>&1; trap - ERR; printf '%s %s\\n' "$status" "$PWD"
"""


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        language: what stands behind the fence.
        text: its lines.
        line: where it begins in the page.
        heading: what it stands below.
        before: the prose between the block before it and this one.
        status: with which status its commands end.
    """

    language: str
    text: str
    line: int
    heading: str
    before: str
    status: int = 0

    @property
    def first_line(self) -> str:
        """Its first line, which a test names it by."""
        return self.text.splitlines()[0]


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks of code, in their order."""
    found: list[Block] = []
    prose: list[str] = []
    heading, opened = "", 0
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if opened:
            if fence:
                text = "\n".join(lines[opened : number - 1])
                language = _FENCE.fullmatch(lines[opened - 1])[1]  # type: ignore[index]
                found.append(Block(language, text, opened, heading, "\n".join(prose)))
                opened, prose = 0, []
        elif fence:
            opened = number
        else:
            heading = line if line.startswith("#") else heading
            prose.append(line)
    return [_with_status(number, found, "\n".join(prose)) for number in range(len(found))]


def _with_status(number: int, found: list[Block], end: str) -> Block:
    block = found[number]
    behind = [*(each.before for each in found[number + 1 :]), end]
    prints = [each.language == "text" for each in found[number + 1 : number + 2]]
    said = _STATUS.search("\n".join(behind[: 2 if prints == [True] else 1]))
    return Block(**{**vars(block), "status": int(said[1])}) if said else block


def checkout(folder: Path, *copied: str) -> Path:
    """Make what looks like a checkout of this repository with its environment.

    Args:
        folder: is made.
        copied: folders that are to be changed or added to; the others are links.
    """
    folder.mkdir(parents=True)
    (folder / ".venv").symlink_to(sys.prefix)
    for path in ROOT.iterdir():
        if path.name in copied:
            shutil.copytree(path, folder / path.name)
        elif not path.name.startswith(".") and path.name != "var":
            (folder / path.name).symlink_to(path)
    return folder


@dataclass
class Walk:
    """Somebody who follows a page.

    Attributes:
        folder: where the shell is.
        printed: what the last commands printed.
    """

    page: Path
    folder: Path
    places: Mapping[str, str]
    instead: Mapping[str, Instead]
    stays: Collection[str]
    _shell: asyncio.subprocess.Process
    _scratch: Path
    printed: str = ""
    _left: list[Block] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)
    _done: int = 0

    async def until(self, heading: str) -> None:
        """Follow the page as far as a heading."""
        assert any(block.heading == heading for block in self._left), f"{self.page.name} has nothing below {heading!r}"
        while self._left[0].heading != heading:
            await self._step(self._left.pop(0))

    async def rest(self) -> None:
        """Follow the page to its end."""
        while self._left:
            await self._step(self._left.pop(0))

    async def _step(self, block: Block) -> None:
        at = f"{self.page.name}:{block.line}"
        text = self._real(block.text)
        if block.language == "text":
            self._compare(text, at)
        elif block.language != "sh":
            name = self.folder / _NAMED.findall(block.before)[-1]
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_text(f"{text}\n")
        elif block.first_line in self.instead:
            doing = self.instead[block.first_line](self.folder)
            if doing is not None:
                await doing
        elif block.first_line in self.stays:
            # Until the shell's process group is ended.
            await self._run(f"{{ {text}\n}} &", block, at)
        else:
            await self._run(text, block, at)

    async def _run(self, commands: str, block: Block, at: str) -> None:
        self._done += 1
        script, output = (self._scratch / f"{self._done}.{kind}" for kind in ("sh", "out"))
        script.write_text(f"{commands}\n")
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(_RUN.format(block=script, output=output).encode())
        async with asyncio.timeout(_ENDS_WITHIN_S):
            ended = (await self._shell.stdout.readline()).decode()
        self.printed = output.read_text()[:_OUTPUT_BYTES]
        assert ended, f"{at}: the shell has ended\n{self.printed}"
        status, _, folder = ended.rstrip("\n").partition(" ")
        assert int(status) == block.status, f"{at}: ended with status {status}\n{commands}\n{self.printed}"
        self.folder = Path(folder)

    def _real(self, text: str) -> str:
        """Put the run's places and what it has printed in the place of the page's."""
        for said, meant in {**self.places, **self._known}.items():
            text = text.replace(said, meant)
        return text

    def _compare(self, expected: str, at: str) -> None:
        left = [" ".join(line.split()) for line in self.printed.splitlines() if line.strip()]
        wanted = [" ".join(line.split()) for line in expected.splitlines() if line.strip()]
        for line in wanted:
            if line == "…":
                continue
            found = next(((each, match) for each in left if (match := self._pattern(line).fullmatch(each))), None)
            assert found, f"{at}: nothing printed is like\n{line}\nprinted:\n{self.printed}"
            left.remove(found[0])
            # What was known already is no placeholder any more, as ``_real`` has replaced it.
            self._known |= zip(_held(line), found[1].groups(), strict=True)
        more = "\n".join(left)
        assert not more or "…" in wanted, f"{at}: printed, and not in the page:\n{more}"

    def _pattern(self, line: str) -> re.Pattern[str]:
        pattern, end = "", 0
        for found in _DIFFERS.finditer(line):
            kind = str(found.lastgroup)
            known = found[0] in self._known.values()
            inner = re.escape(found[0]) if known else _PATTERNS[kind]
            pattern += re.escape(line[end : found.start()])
            pattern += f"({inner})" if kind in {"id", "word"} else inner
            end = found.end()
        return re.compile(pattern + re.escape(line[end:]))


def _held(line: str) -> list[str]:
    """Return the placeholders that stand for what is printed at their place."""
    return [found[0] for found in _DIFFERS.finditer(line) if found.lastgroup in {"id", "word"}]


@asynccontextmanager
async def walking(
    page: str,
    folder: Path,
    scratch: Path,
    *,
    environment: Mapping[str, str],
    places: Mapping[str, str] | None = None,
    instead: Mapping[str, Instead] | None = None,
    stays: Collection[str] = (),
) -> AsyncIterator[Walk]:
    """Begin to follow a page; at the end all of it must have been followed.

    Args:
        page: its path in docs.
        folder: where its first command is run.
        scratch: a folder for what the walk itself needs.
        environment: of its commands.
        places: addresses and ports of the page, with those of the run.
        instead: what a test does in the place of a block of commands, by the block's first line.
        stays: first lines of commands that the page leaves running.
    """
    path = ROOT / "docs" / page
    every = blocks(path)
    named = {*(instead or ()), *stays}
    assert named <= {block.first_line for block in every}, f"{page} has no such command"
    shell = await asyncio.create_subprocess_exec(
        "/bin/bash", cwd=folder, env=dict(environment), start_new_session=True,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    walk = Walk(path, folder, places or {}, instead or {}, stays, shell, scratch, _left=every)
    try:
        yield walk
        assert not walk._left, f"{page}:{walk._left[0].line} was not followed"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        await shell.wait()
