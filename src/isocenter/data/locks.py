"""A lock between processes that the system takes back from one that dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["locked"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock ``path`` among all threads and processes of this system that ask for it.

    Args:
        path: A file that is made, and removed again.
        wait: Until it is free; else go on without it.

    Yields:
        It is held: ``False`` where another holds it (without ``wait``), or where there are no such locks.

    Raises:
        OSError: The file cannot be made.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lock"
        >>> with locked(path) as first, locked(path, wait=False) as second:
        ...     print(first, second)
        True False
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            os.close(handle)
            if not isinstance(error, BlockingIOError) and error.errno not in _NO_LOCKS:
                raise
            yield False
            return
        if _is_there(handle, path):
            break
        os.close(handle)  # its last holder removed the file while we waited for it
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _is_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
