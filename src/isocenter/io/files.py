"""Writing that never leaves half a file behind, and JSON with typed errors."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import ConfigError, FileFormatError, ValueRangeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_folder", "atomic_path", "check_folder_target", "files_below", "read_json", "write_json"]

_TARGET_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


def files_below(root: Path) -> Iterator[Path]:
    """Every file in a folder and its subfolders, in the order of their names; a file itself where ``root`` is one."""
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():  # no sockets, no dangling links
                yield file


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A file that appears whole or not at all.

    Args:
        path: The file to write. Its folder is made where it is missing; a file of that name is replaced.

    Yields:
        A path beside it, with the same suffixes, to write to. It takes the name ``path`` when the block ends, and is
        removed when the block fails.

    Raises:
        ConfigError: The place cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "note.txt") as part:
        ...     _ = part.write_text("done")
        >>> [p.name for p in folder.iterdir()]
        ['note.txt']
    """
    target = Path(path)
    part = target.with_name(f".{uuid.uuid4().hex[:12]}.{target.name}")
    if target.is_dir():
        raise ConfigError(f"{target}: is a folder, a file is to be written there; give a file name")
    with _writing(target, part):
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name without the bytes
        os.replace(part, target)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder that appears whole or not at all.

    Args:
        path: The folder to make. It may exist when it is empty.
        overwrite: Replace a folder that is not empty. The old one is kept until the new one is complete.

    Yields:
        A new folder beside it to fill; see `atomic_path`.

    Raises:
        ConfigError: ``path`` is a file, or a folder that is not empty without ``overwrite``, or cannot be written.
    """
    target = Path(path).absolute()
    check_folder_target(path, overwrite=overwrite)
    token = uuid.uuid4().hex[:12]
    part, old = (target.with_name(f".{token}.{kind}.{target.name}") for kind in ("new", "old"))
    with _writing(target, part):
        part.mkdir()
        yield part
        if overwrite and target.exists():
            os.replace(target, old)
        try:
            os.replace(part, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def check_folder_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuse early what `atomic_folder` would refuse; long work calls it before it begins.

    Raises:
        ConfigError: See `atomic_folder`.
    """
    shown, target = Path(path), Path(path).absolute()
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{shown}: is a file, a folder is to be written there; give another name")
    above = next(p for p in target.parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"{shown}: cannot be written in {above}; give another place")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"{shown}: is not empty; give another folder, or allow it to be overwritten")
    for precious in (Path.cwd(), Path.home()):
        if precious.resolve().is_relative_to(target.resolve()):
            raise ConfigError(f"{shown}: holds the working or home folder and is not overwritten; give another folder")


@contextmanager
def _writing(target: Path, part: Path) -> Iterator[None]:
    """Make the parent folder, clean up ``part`` on failure, and put failures of the place itself into words."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):
                part.unlink()
        own = isinstance(error, OSError) and (error.errno in _TARGET_ERRORS or isinstance(error, FileExistsError))
        if own and isinstance(error, OSError) and _concerns(error, target, part):
            raise ConfigError(f"{target}: cannot be written ({error.strerror}); give another place") from error
        raise


def _concerns(error: OSError, target: Path, part: Path) -> bool:
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    name = Path(os.fsdecode(error.filename))
    return name in (target, part) or name in target.parents or part in name.parents


def write_json(path: str | Path, obj: Any) -> None:
    """Write ``obj`` as JSON: keys sorted, two spaces, UTF-8, whole or not at all.

    NumPy scalars and arrays, paths and tuples are written as numbers, lists and strings.

    Raises:
        ValueRangeError: NaN or an infinite number is in it (JSON has none).
        ConfigError: The place cannot be written to.
    """
    try:
        text = json.dumps(
            obj, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False, default=_plain, check_circular=True
        )
    except ValueError as error:
        raise ValueRangeError(f"{path}: {_not_finite(obj) or error}; JSON has no NaN or infinity") from error
    with atomic_path(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _not_finite(obj: Any, where: str = "") -> str | None:
    """Where the first NaN or infinity is, e.g. ``summary.dice is nan``."""
    items: Any = ()
    if isinstance(obj, dict):
        items = obj.items()
    elif isinstance(obj, (list, tuple, np.ndarray)):
        items = enumerate(obj)
    elif isinstance(obj, (float, np.floating)) and not np.isfinite(obj):
        return f"{where or 'the value'} is {obj}"
    for key, value in items:
        found = _not_finite(value, f"{where}.{key}" if where else str(key))
        if found:
            return found
    return None


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileFormatError: The file is missing, unreadable, or not JSON; the message names line and column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except json.JSONDecodeError as error:
        raise FileFormatError(
            f"{path}: not JSON at line {error.lineno}, column {error.colno} ({error.msg}); mend or replace the file"
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not JSON ({type(error).__name__}); mend or replace the file") from error
