"""Folders of static files: which file a request means, and nothing outside.

What a request may reach is the kernel's decision: openat2 with RESOLVE_BENEATH refuses
paths and links that lead out of the folder, whoever changes it meanwhile. Paths with
empty or dotted parts are refused before that. Lists of folders are off by default.
"""

from __future__ import annotations

import errno
import html
import os
import stat
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from .files_folders import FOLDER, entries_of, list_open
from .web_errors import HTTPMovedPermanently, HTTPNotFound
from .web_files import FileResponse, Source, refusal
from .web_flights import BENEATH, STEPWISE, Look, step_into
from .web_request import Request
from .web_response import Response, StreamResponse

_NO_MAGIC, _NO_LINKS, _BENEATH = 0x02, 0x04, 0x08  # RESOLVE_*, linux/openat2.h
RESOLVE = {
    "never": _BENEATH | _NO_LINKS | _NO_MAGIC,
    "inside": _BENEATH | _NO_MAGIC,
    "anywhere": _NO_MAGIC,
}
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Folder(Source):
    """A folder whose files are served below a prefix.

    symlinks: "inside" follows links that stay below the folder, "never" follows none,
    "anywhere" follows all. `index` is the name of the file that stands for a folder;
    with `show_index` a folder without it is listed. `headers` are added to each file.
    """

    def __init__(
        self,
        prefix: str,
        folder: str | os.PathLike[str],
        *,
        show_index: bool = False,
        index: str | None = None,
        symlinks: str = "inside",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if symlinks not in RESOLVE:
            raise ValueError(f"symlinks is {symlinks!r}: it may be {list(RESOLVE)}")
        super().__init__(RESOLVE[symlinks])
        self.prefix = prefix
        self.folder = os.path.abspath(folder)
        self.show_index = show_index
        self.index = index
        self._headers = dict(headers) if headers else None
        self._fd = -1
        os.close(os.open(self.folder, _OPEN))

    async def _open(self) -> None:
        fd = os.open(self.folder, _OPEN)
        await self._find_out(fd)
        if self._fd < 0:
            self._fd = fd
        else:  # another request was faster
            os.close(fd)

    def close(self) -> None:
        """Close the folder, until the next request."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self.known.clear()

    @property
    def place(self) -> int | None:
        """As Source: only a folder that is open, with openat2, is one for all."""
        return self._fd if self._fd >= 0 and self.flights is BENEATH else None

    async def enter(self, path: str) -> tuple[int, str, bool]:
        """As Source; without openat2 one step after the other, and no links at all."""
        if self._fd < 0:
            await self._open()
        fd = self._fd
        if self.flights is BENEATH:
            return fd, path, False
        return await self._walk(fd, path)

    async def _find_out(self, fd: int) -> None:
        """Whether there is openat2: not before Linux 5.6, nor behind some filters."""
        code = (await BENEATH.look(fd, ".", self.resolve))[0]
        if code in (-errno.ENOSYS, -errno.EPERM):
            self.flights = STEPWISE

    async def _walk(self, fd: int, path: str) -> tuple[int, str, bool]:
        *folders, last = path.split("/")
        here, is_own = fd, False
        try:
            for name in folders:
                there = await step_into(here, name)
                if is_own:
                    os.close(here)
                here, is_own = there, True
        except OSError as error:
            if is_own:
                os.close(here)
            raise refusal(error.errno or 0) from None
        return here, last, is_own

    async def respond(self, request: Request) -> StreamResponse:
        """The handler of everything below the prefix."""
        path = request.path[len(self.prefix) :]
        if path not in self.known or "%" in path:  # else nothing in it was escaped
            path = self.path_of(request)
        if path in self.known:
            return FileResponse(path, headers=self._headers, _source=self)
        if not path or path.endswith("/"):
            return await self._answer_folder(request, path)
        try:
            await self.learn(path)
        except IsADirectoryError:
            if self.index is None and not self.show_index:
                raise HTTPNotFound() from None
            name = request.path.rpartition("/")[2]
            raise HTTPMovedPermanently(f"./{name}/") from None
        return FileResponse(path, headers=self._headers, _source=self)

    def path_of(self, request: Request) -> str:
        """The path below the folder. Raises HTTPNotFound for one that is none."""
        raw = request.path[len(self.prefix) :]
        data = unquote_to_bytes(raw)
        if b"\0" in data:
            raise HTTPNotFound()
        path = os.fsdecode(data)
        parts = path.removesuffix("/").split("/") if path else []
        if any(part in ("", ".", "..") for part in parts):
            raise HTTPNotFound()
        return path

    async def _answer_folder(self, request: Request, path: str) -> StreamResponse:
        if self.index is not None:
            try:
                await self.learn(path + self.index)
                return FileResponse(
                    path + self.index, headers=self._headers, _source=self
                )
            except (HTTPNotFound, IsADirectoryError):
                pass
        if not self.show_index:
            raise HTTPNotFound()
        return Response(text=await self._listing(path), content_type="text/html")

    async def _listing(self, path: str) -> str:
        folder, rest, is_own = await self.enter(path.rstrip("/") or ".")
        try:
            found = Look(*await self.flights.open(folder, rest, self.resolve))
        finally:
            if is_own:
                os.close(folder)
        if found.code < 0:
            raise refusal(-found.code)
        try:
            if not stat.S_ISDIR(found.mode):
                raise HTTPNotFound()
            entries = await entries_of(await list_open(found.code), "")
            names = [each.name + "/" * (each.kind == FOLDER) for each in entries]
        finally:
            os.close(found.code)
        title = html.escape("/" + path)
        items = "".join(
            f'<li><a href="./{quote(os.fsencode(name))}">{_shown(name)}</a></li>\n'
            for name in sorted(names)
        )
        return (
            f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n"
            f"<ul>\n{items}</ul>\n"
        )


def _shown(name: str) -> str:
    return html.escape(os.fsencode(name).decode("utf-8", "replace"))
