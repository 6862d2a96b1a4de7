"""How kernels are compiled and run: numba without its own threads.

A kernel works on a range of slices, releases the interpreter lock and starts no threads itself. `in_parts` runs it over
parts of the range in ordinary threads. So kernels may be called from any number of threads at once (numba's default
threading layer may not), and a process may fork after using them. Compiled code is cached beside the package, or in
the user's cache folder where the installation is read-only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar, cast

__all__ = ["compiled", "in_parts", "usable_cores"]

F = TypeVar("F", bound=Callable[..., object])

_NAME = "isocenter-kernel"
_pool: ThreadPoolExecutor | None = None


def compiled(function: F) -> F:
    """``function`` as a kernel: compiled at its first call, cached on disk where any place can be written.

    IEEE arithmetic (no ``fastmath``), so that results do not depend on how a range was cut into parts.
    """
    from numba import njit

    try:
        kernel = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder for its cache: compile in every process
        kernel = njit(nogil=True, error_model="numpy")(function)
    return cast(F, kernel)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parts(work: Callable[[int, int], object], count: int, *, threads: int | None = None, least: int = 1) -> None:
    """``work(start, stop)`` over ``range(count)`` in contiguous parts, one a thread.

    Args:
        work: Must write to places of its own range only.
        count: Length of the range.
        threads: At most so many at once; by default one a core. 1 runs in the calling thread.
        least: Do not cut parts shorter than this.

    Example:
        >>> out = [0] * 5
        >>> in_parts(lambda a, b: out.__setitem__(slice(a, b), range(a, b)), 5)
        >>> out
        [0, 1, 2, 3, 4]
    """
    wanted = usable_cores() if threads is None else threads
    if threading.current_thread().name.startswith(_NAME):  # a part of a part: the pool might wait for itself
        wanted = 1
    parts = max(1, min(wanted, count // max(1, least)))
    if parts == 1:
        work(0, count)
        return
    edges = [count * k // parts for k in range(parts + 1)]
    futures = [_threads().submit(work, a, b) for a, b in pairwise(edges[1:])]
    work(edges[0], edges[1])
    for future in futures:
        future.result()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix=_NAME)
    return _pool


def _forget_threads() -> None:
    global _pool
    _pool = None  # a forked child has none of its parent's threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
