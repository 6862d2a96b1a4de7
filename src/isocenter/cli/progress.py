"""Progress with time left: bars on a terminal, now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

    from isocenter.workflow.progress import Progress

__all__ = ["bars"]

LINE_SECONDS = 10.0
"""Between two lines in a log; what takes less time says nothing there."""


@contextmanager
def bars(quiet: bool) -> Iterator[Progress | None]:
    """A callable for the ``progress`` of a verb, one bar for each kind of work; ``None`` when ``quiet``."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines()
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


def _lines() -> Progress:
    began: dict[str, float] = {}
    said: dict[str, float] = {}
    last: dict[str, int] = {}

    def tell(what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if done < last.get(what, 0):  # the same kind of work begins again
            began[what] = now
        start, last[what] = began.setdefault(what, now), done
        if now - said.get(what, start) >= LINE_SECONDS or (what in said and done == total):
            said[what] = now
            left = (now - start) / max(done, 1) * (total - done)
            typer.echo(f"{what}: {done} of {total}, {left:.0f} s left  {_figures(figures or {})}".rstrip(), err=True)

    return tell


def _figures(figures: Mapping[str, float]) -> str:
    shown = []
    if "loss" in figures:
        shown.append(f"loss {figures['loss']:.3f}")
    if "score" in figures:
        shown.append(f"Dice {figures['score']:.3f}" if "dice" in figures else f"score {figures['score']:.3f}")
    if "validation" in figures:
        shown.append(f"validation {figures['validation']:.3f}")
    return "  ".join(shown)
