"""Archives of files from elsewhere, unpacked under limits into a folder that is removed again.

Nothing that an archive says becomes a path: files are written under numbers, so that neither ``../`` nor a name reaches
the disk, and an archive with such names, with links or with devices is refused as a whole.
"""

from __future__ import annotations

import atexit
import os
import re
import stat
import struct
import tempfile
import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from isocenter.errors import ConfigError, FileFormatError, IsocenterError
from isocenter.io._tar import TAR_FAULTS, tar_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Entry = tuple[str, str, int, Callable[[], IO[bytes]]]

__all__ = ["ArchiveLimits", "opened", "unpacked"]

_PIECE = 1 << 16
_FORBIDDEN = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may ask for gigabytes to be unpacked
_END = b"PK\x05\x06"
_DIRECTORY_ENTRY = 256  # bytes in the directory of a file with a long name
_FAULTS: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error),
    *TAR_FAULTS,
)
_REMEDY = "unpack it yourself and give the folder"


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may ask for.

    Attributes:
        entries: Files in it.
        entry_bytes: Of one file, unpacked.
        ratio: Of unpacked to packed bytes; images reach 20, and a stack of empty masks some hundred.
        free_bytes: Unpacked bytes that are allowed whatever the ratio.
    """

    entries: int = 50_000
    entry_bytes: int = 8 << 30
    ratio: int = 100
    free_bytes: int = 128 << 20


@contextmanager
def opened(path: str | Path, limits: ArchiveLimits | None = None) -> Iterator[Path]:
    """A folder or file to read: ``path`` itself, or what an archive (.zip, .tar, .tar.gz) holds, while a block lasts.

    Unpacked files are numbered in the order of the archive, those of one folder in one folder; errors that leave the
    block name them behind the path of the archive. A DICOMDIR in it is not followed: files are found by looking, and
    nothing outside is read.

    Args:
        path: Folder, file or archive.
        limits: Of what is unpacked.

    Yields:
        A path; that of an archive is gone after the block.

    Raises:
        FileFormatError: The archive is damaged, holds links or names that lead out of it, or more than ``limits``.
        ConfigError: There is no room to unpack it.

    Example:
        >>> archive = Path(tempfile.mkdtemp(), "disc.zip")
        >>> with zipfile.ZipFile(archive, "w") as made:
        ...     made.writestr("STUDY/Some^Name.dcm", b"...")
        >>> with opened(archive) as folder:
        ...     [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.dcm"))]
        ['0001/000001.dcm']
        >>> folder.exists()
        False
    """
    path = Path(path)
    limits = limits or ArchiveLimits()
    kind = _kind(path)
    if kind is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="isocenter-") as made:
        _unpack(_zip_entries(path, limits) if kind == "zip" else tar_entries(path), path, Path(made), limits)
        try:
            yield Path(made)
        except IsocenterError as error:
            error.args = tuple(str(a).replace(made, str(path)) for a in error.args)
            raise


_LASTING = ExitStack()
atexit.register(_LASTING.close)


def unpacked(path: str | Path) -> Path:
    """Like `opened`, for as long as this process lives; a path that is no archive is given back as it is.

    Raises:
        FileFormatError: See `opened`.
        ConfigError: See `opened`.
    """
    return _LASTING.enter_context(opened(path))


def _kind(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(264)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if start[128:132] == b"DICM":  # a preamble may hold anything
        return None
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    packed = start[:2] == b"\x1f\x8b" and path.name.lower().endswith((".tar.gz", ".tgz"))
    return "tar" if packed or start[257:262] == b"ustar" else None


def _unpack(entries: Iterator[Entry], path: Path, folder: Path, limits: ArchiveLimits) -> None:
    allowed = limits.free_bytes + limits.ratio * path.stat().st_size
    places: dict[str, Path] = {}
    number = 0
    try:
        for name, what, size, content in entries:
            number += 1
            _check(path, number, name, what, size, limits)
            if what == "folder":
                continue
            parent = os.path.dirname(name.replace("\\", "/"))
            place = places.setdefault(parent, folder / f"{len(places) + 1:04d}")
            place.mkdir(exist_ok=True)
            with content() as source, (place / f"{number:06d}.dcm").open("xb") as target:
                allowed -= _copy(source, target, min(size, allowed), f"{path}: entry {number}")
    except _FAULTS as error:
        raise FileFormatError(f"{path}: damaged archive ({type(error).__name__}); send it again") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be unpacked to {folder} ({error.strerror or type(error).__name__}); set TMPDIR to a folder"
            " with room"
        ) from error


def _check(path: Path, number: int, name: str, what: str, size: int, limits: ArchiveLimits) -> None:
    """Of an entry, by number: names of files may be names of persons."""
    if number > limits.entries:
        raise FileFormatError(f"{path}: holds more than {limits.entries} files; {_REMEDY}")
    if _FORBIDDEN.search(name):
        raise FileFormatError(f"{path}: the name of entry {number} leads out of the archive; do not use this archive")
    if what not in ("file", "folder"):
        raise FileFormatError(f"{path}: entry {number} is a {what}, not a file; do not use this archive")
    if size > limits.entry_bytes:
        raise FileFormatError(
            f"{path}: entry {number} declares {size} bytes, {limits.entry_bytes} are allowed; {_REMEDY}"
        )


def _copy(source: IO[bytes], target: IO[bytes], most: int, name: str) -> int:
    """Bytes copied; what an entry declares is not believed."""
    done = 0
    while piece := source.read(_PIECE):
        done += len(piece)
        if done > most:
            raise FileFormatError(f"{name}: unpacks to more than the {most} bytes that are allowed; {_REMEDY}")
        target.write(piece)
    return done


def _zip_entries(path: Path, limits: ArchiveLimits) -> Iterator[Entry]:
    _check_directory(path, limits)
    with zipfile.ZipFile(path) as archive:
        declared = sum(info.file_size for info in archive.infolist())
        allowed = limits.free_bytes + limits.ratio * path.stat().st_size
        if declared > allowed:
            raise FileFormatError(
                f"{path}: its files declare {declared} bytes, {allowed} are allowed for its size; {_REMEDY}"
            )
        for number, info in enumerate(archive.infolist(), 1):
            if info.flag_bits & 1 or info.compress_type not in _METHODS:
                how = "is encrypted" if info.flag_bits & 1 else f"has compression method {info.compress_type}"
                raise FileFormatError(f"{path}: entry {number} {how}; {_REMEDY}")
            yield info.orig_filename, _what(info), info.file_size, partial(archive.open, info)


def _what(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "device"
    return "folder" if info.is_dir() else "file"


def _check_directory(path: Path, limits: ArchiveLimits) -> None:
    """Count the files of a .zip before its directory is taken into memory as a whole (APPNOTE 4.3)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - (1 << 16) - 128)
        file.seek(start)
        tail = file.read()
        at = len(tail) - 22 if tail[-22:-18] == _END and tail[-2:] == b"\0\0" else tail.rfind(_END)
        before = tail[max(at - 76, 0) : max(at, 0)]
        if before[:4] == b"PK\x06\x06" and before[56:60] == b"PK\x06\x07":  # the record of archives beyond 4 GiB
            length = int.from_bytes(before[40:48], "little")
            at -= 76
        else:
            length = int.from_bytes(tail[at + 12 : at + 16], "little")
        if length <= limits.entries * _DIRECTORY_ENTRY:
            file.seek(max(start + at - length, 0))
            if file.read(length).count(b"PK\x01\x02") <= limits.entries:
                return
    raise FileFormatError(f"{path}: holds more than {limits.entries} files; {_REMEDY}")
