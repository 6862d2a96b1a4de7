"""How verbs tell how far they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["Progress", "told"]


class Progress(Protocol):
    """Told of everything that takes its time."""

    def __call__(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """``done`` of ``total`` parts of ``what``; in training ``figures`` holds loss, score and validation."""


def told(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    """``progress`` as rooms below take it, which know how far they are and not what for; ``None`` stays ``None``."""
    return (lambda done, total: progress(what, done, total)) if progress is not None else None
