"""Entries of a .tar or .tar.gz; headers that ask for more memory than a name takes are refused."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["TAR_FAULTS", "tar_entries"]

TAR_FAULTS: tuple[type[Exception], ...] = (tarfile.TarError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged archive raises, beside errors of the system."""

_PIECE = 1 << 20


class _Bounded:
    """A stream that never gives much at once: `tarfile` reads the values of extended headers as a whole."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _PIECE:
            raise FileFormatError(f"{self._name}: has a header of {size} bytes; unpack it yourself and give the folder")
        return self._file.read(size)

    def seek(self, at: int, whence: int = 0) -> int:
        return self._file.seek(at, whence)

    def tell(self) -> int:
        return self._file.tell()


def tar_entries(path: Path) -> Iterator[tuple[str, str, int, Callable[[], IO[bytes]]]]:
    """Name, kind (``"file"``, ``"folder"``, ``"link"``, ``"device"``), declared size and content of each entry."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream: Any = _Bounded(cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw, str(path))
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # which it would keep all of
                yield member.name, _what(member), member.size, partial(_content, archive, member)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise tarfile.ReadError("no content")
    return content


def _what(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return "folder"
    if member.issym() or member.islnk():
        return "link"
    return "file" if member.isreg() and not member.issparse() else "device"
