"""Ctrl-C and SIGTERM during a fit: heard between two steps, so that what is saved belongs to one step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["hear_stop"]


@contextmanager
def hear_stop() -> Iterator[Callable[[], bool]]:
    """A question, "was a stop asked for?", while the block runs; a second Ctrl-C does not wait for the answer.

    Blocks may lie within each other, as fits in a search: all of them hear it. Signals reach the main thread only; in
    any other thread the answer stays no.

    Example:
        >>> import os
        >>> with hear_stop() as asked:
        ...     before = asked()
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     before, asked()
        (False, True)
    """
    heard = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield heard.is_set
        return
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    hear = _Hear(heard, {handler for handler in before.values() if isinstance(handler, _Hear)})
    for kind in before:
        signal.signal(kind, hear)
    try:
        yield heard.is_set
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class _Hear:
    """A handler that also tells those of the blocks around its own."""

    def __init__(self, heard: threading.Event, outer: Iterable[_Hear]) -> None:
        self.heard, self.outer = heard, tuple(outer)

    def __call__(self, kind: int, frame: FrameType | None) -> None:
        if self.heard.is_set() and kind == signal.SIGINT:
            signal.default_int_handler(kind, frame)
        self.heard.set()
        for hear in self.outer:
            hear(kind, frame)
