"""How verbs tell how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """Told of everything that takes its time."""

    def __call__(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """``done`` of ``total`` parts of ``what``; in training ``figures`` holds loss, score and validation."""
