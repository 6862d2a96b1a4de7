"""Gzip streams: igzip where it is installed (several times as fast), else the standard library."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_inflated", "packer", "stream_faults"]


def open_inflated(path: Path) -> IO[bytes]:
    """The file, inflated where it starts with gzip's magic number."""
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    if magic != b"\x1f\x8b":
        return file
    file.close()
    try:
        from isal import igzip
    except ImportError:
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return cast("IO[bytes]", igzip.open(path, "rb"))


def stream_faults() -> tuple[type[Exception], ...]:
    """What reading a damaged or truncated stream raises."""
    plain = (OSError, EOFError, zlib.error)
    try:
        from isal.igzip_lib import IsalError
    except ImportError:
        return plain
    return (*plain, cast("type[Exception]", IsalError))


def packer(file: IO[bytes]) -> IO[bytes]:
    """Gzip without name and time, so that equal volumes give equal bytes."""
    try:
        from isal import igzip
    except ImportError:
        return cast("IO[bytes]", gzip.GzipFile("", "wb", 4, file, mtime=0))
    return cast("IO[bytes]", igzip.IGzipFile("", "wb", 2, file, mtime=0))
