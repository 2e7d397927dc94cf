"""The style sheet, the scripts and the icon: read when the console starts, kept by browsers until the next release."""

import hashlib
from pathlib import Path

from aiohttp import web

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_KEPT = "public, max-age=31536000, immutable"


class StaticFiles:
    """What stands in ``static``, under a path that changes when any of it does."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {each.name: each.read_bytes() for each in sorted(folder.iterdir()) if each.suffix in _TYPES}
        together = hashlib.sha256(b"".join(self._files[name] for name in self._files))
        self.base = f"/static/{together.hexdigest()[:12]}"

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with one file; an older version's path gets the file that there is."""
        content = self._files.get(request.match_info["name"])
        if content is None:
            raise web.HTTPNotFound
        kind = _TYPES[Path(request.match_info["name"]).suffix]
        kept = _KEPT if request.match_info["version"] == self.base.rpartition("/")[2] else "no-store"
        return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": kept})
