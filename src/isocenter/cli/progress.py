"""Progress bars with time left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from isocenter.workflow.planning import Progress

__all__ = ["bars"]


@contextmanager
def bars(quiet: bool) -> Iterator[Progress | None]:
    """A callable for the ``progress`` of a verb, one bar for each kind of work; ``None`` when ``quiet``."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as shown:

        def tell(what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total, figures="")
            shown.update(tasks[what], completed=done, total=total, figures=_figures(figures or {}))

        yield tell


def _figures(figures: Mapping[str, float]) -> str:
    shown = []
    if "loss" in figures:
        shown.append(f"loss {figures['loss']:.3f}")
    if "score" in figures:
        shown.append(f"Dice {figures['score']:.3f}" if "dice" in figures else f"score {figures['score']:.3f}")
    if "validation" in figures:
        shown.append(f"validation {figures['validation']:.3f}")
    return "  ".join(shown)
