"""Batches prepared ahead by threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")


def prefetch(make: Callable[[int], T], steps: range, workers: int) -> Generator[T, None, None]:
    """``make(step)`` for each step, in order, ``workers`` threads ahead of the consumer (0: none ahead).

    Threads suffice because tensor code releases the interpreter lock; an error of ``make`` is raised where its batch
    is asked for.

    Example:
        >>> list(prefetch(lambda step: step * step, range(3), workers=2))
        [0, 1, 4]
    """
    if workers == 0:
        yield from map(make, steps)
        return
    pending: deque[Future[T]] = deque()
    coming = iter(steps)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="isocenter-batch")
    try:
        for step in steps:
            while len(pending) < workers + 1:
                ahead = next(coming, None)
                if ahead is None:
                    break
                pending.append(pool.submit(make, ahead))
            del step
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
