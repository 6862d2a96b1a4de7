"""A store of named arrays under content hashes: whole or absent, whoever writes and whenever it is killed.

An entry is a folder ``<key[:2]>/<key>/`` with ``facts.json`` and one file of bricks an array. It is written aside,
forced to disk and renamed, under a lock that the system takes back from a process that dies. Sizes and hashes are
compared when an entry is opened, so damage is found before anything is used; a damaged entry is built again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from numpy.typing import NDArray

from isocenter.data.bricks import CachedArray, write_bricks
from isocenter.data.content import ContentHash, digest_of
from isocenter.data.locks import locked
from isocenter.errors import CacheError, ConfigError
from isocenter.io.files import atomic_folder

__all__ = ["FORMAT", "CacheEntry", "CaseCache", "Made"]

FORMAT = 1
"""Of an entry on disk; part of every key."""

Made = tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]
"""Named arrays, and facts that JSON can say."""

_FACTS = "facts.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """What a key stands for.

    Attributes:
        key: SHA-256 in hexadecimal.
        arrays: By name, read when they are sliced.
        facts: As they were given.
    """

    key: str
    arrays: Mapping[str, CachedArray]
    facts: Mapping[str, Any]


class CaseCache:
    """A folder of entries, safe for any number of threads and processes.

    Two that ask for the same missing entry at once build it once: the second waits. On a system, or a file system,
    without locks both build it and the second is dropped.

    Args:
        folder: Made when the first entry is written. It, or any entry in it, may be deleted while nothing uses it.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> cache = CaseCache(tempfile.mkdtemp())
        >>> entry = cache.get(cache.key({"case": 7}), lambda: ({"image": np.eye(3)}, {"spacing_mm": 0.1}))
        >>> entry.arrays["image"][1].tolist(), entry.facts["spacing_mm"]
        ([0.0, 1.0, 0.0], 0.1)
        >>> cache.open(cache.key({"case": 8})) is None
        True
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        self.content = ContentHash(self.folder / "notes")

    @staticmethod
    def key(facts: Mapping[str, Any]) -> str:
        """Key of what ``facts`` state: content, settings, version of the code; never times or paths."""
        return digest_of({"format": FORMAT, **facts})

    def open(self, key: str) -> CacheEntry | None:
        """The entry, compared with its hashes; ``None`` where there is none, or a damaged one, which the log tells.

        Raises:
            CacheError: The folder cannot be read.
        """
        entry, damage = self._look(key)
        if damage:
            _log.warning("cache: entry %s is damaged (%s) and not used", key[:12], damage)
        return entry

    def _look(self, key: str) -> tuple[CacheEntry | None, str]:
        """The entry, or what is wrong with it; nothing is wrong with one that is absent."""
        folder = self._folder(key)
        try:
            if not folder.is_dir():
                return None, ""
            facts = _read_facts(folder / _FACTS, key)
            for kept in facts["arrays"].values():
                _compare(folder / kept["file"], kept)
            return _entry(folder, key, facts), ""
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError) as error:
            return None, (str(error) or type(error).__name__) if folder.is_dir() else ""
        except OSError as error:
            raise CacheError(f"{folder}: cannot be read ({error.strerror}); give another cache folder") from error

    def get(self, key: str, make: Callable[[], Made]) -> CacheEntry:
        """The entry; made and kept first, where there is none that is whole.

        Args:
            key: As `key` gives it.
            make: Gives arrays and facts; an error of it is passed on, and nothing is kept.

        Raises:
            CacheError: The folder cannot be written to, or its disk is full.
        """
        entry = self.open(key)
        if entry is not None:
            return entry
        with self._locked(key) as alone:
            entry, _ = self._look(key)  # another may have built it meanwhile
            if entry is not None:
                return entry
            if alone:
                self._sweep(key)
            self._discard(key)
            return self._build(key, *make())

    def clean(self) -> int:
        """Remove what builders that were killed have left; what a living one works on is passed over.

        Returns:
            How many entries had leftovers.
        """
        found = {path.name.rpartition(".")[2] for path in self.folder.glob("??/.*.*.*") if path.is_dir()}
        found |= {path.name.split(".")[1] for path in self.folder.glob("??/.*.lock")}
        swept = 0
        for key in sorted(found):
            with suppress(OSError, CacheError), locked(self._lock(key), wait=False) as alone:
                swept += int(alone and self._sweep(key))
        return swept

    def _folder(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _lock(self, key: str) -> Path:
        return self.folder / key[:2] / f".{key}.lock"

    @contextmanager
    def _locked(self, key: str) -> Iterator[bool]:
        with ExitStack() as stack:
            try:
                alone = stack.enter_context(locked(self._lock(key)))
            except OSError as error:
                self._refuse(error)
            yield alone

    def _sweep(self, key: str) -> bool:
        """Remove folders written aside for ``key``; only for who holds its lock."""
        left = list((self.folder / key[:2]).glob(f".*.*.{key}"))
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return bool(left)

    def _discard(self, key: str) -> None:
        """Remove a damaged entry; renamed first, so that nobody sees a part of it."""
        folder = self._folder(key)
        if not folder.exists():
            return
        aside = folder.with_name(f".{uuid.uuid4().hex[:12]}.old.{key}")
        try:
            os.replace(folder, aside)
        except FileNotFoundError:  # without locks: another was faster
            return
        except OSError as error:
            self._refuse(error)
        shutil.rmtree(aside, ignore_errors=True)

    def _build(self, key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> CacheEntry:
        folder = self._folder(key)
        try:
            with atomic_folder(folder) as part:
                written = _write_entry(part, key, arrays, facts)
            _sync(folder.parent)
        except (ConfigError, OSError) as error:
            other, _ = self._look(key)  # without locks: another was faster
            if other is not None:
                return other
            self._refuse(error.__cause__ if isinstance(error.__cause__, OSError) else error)
        return _entry(folder, key, written)

    def _refuse(self, error: BaseException) -> NoReturn:
        above = next(p for p in (self.folder, *self.folder.parents) if p.exists())
        free = shutil.disk_usage(above).free / 1e6
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CacheError(
            f"{self.folder}: prepared cases cannot be kept ({reason}; {free:.0f} MB are free there);"
            " free some space, or give another cache folder"
        ) from error


def _write_entry(part: Path, key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for number, (name, array) in enumerate(arrays.items()):
        path = part / f"{number}.bricks"
        kept[name] = {"file": path.name, **write_bricks(path, array)}
    body = {"key": key, "arrays": kept, "facts": dict(facts)}
    text = json.dumps({"sha256": digest_of(body), **body}, allow_nan=False)
    with (part / _FACTS).open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _sync(part)
    return body


def _read_facts(path: Path, key: str) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    digest = found.pop("sha256")
    if digest != digest_of(found) or found["key"] != key:
        raise ValueError(f"{_FACTS} differs from its own hash")
    return dict(found)


def _compare(path: Path, kept: Mapping[str, Any]) -> None:
    size = path.stat().st_size
    if size != kept["bytes"]:
        raise ValueError(f"{path.name} has {size} bytes, not {kept['bytes']}")
    with path.open("rb", buffering=0) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != kept["sha256"]:
            raise ValueError(f"{path.name} differs from its hash")


def _entry(folder: Path, key: str, facts: Mapping[str, Any]) -> CacheEntry:
    arrays = {name: CachedArray.of(folder / kept["file"], kept) for name, kept in facts["arrays"].items()}
    return CacheEntry(key, arrays, facts["facts"])


def _sync(folder: Path) -> None:
    """Force a folder's names to disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
