"""DICOM series as an indented tree on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isocenter.workflow.dicomtree import SeriesSummary, StackSummary
    from isocenter.workflow.inspecting import Inspection

__all__ = ["tree_lines"]

SERIES = 60
"""Series that are printed; --json has them all."""
LINES = 8
"""Lines of one series that are printed, and files that are set aside or damaged."""
FEW = 3
"""Stacks of one size that are named one by one."""


def tree_lines(found: Inspection) -> Iterator[str]:
    """Patients, studies, series, stacks; what is wrong marked with its code."""
    shown = found.series[:SERIES]
    for patient, of_patient in groupby(shown, lambda s: s.patient):
        yield patient
        for study, of_study in groupby(of_patient, lambda s: s.study):
            yield f"  {study}"
            for series in of_study:
                yield from _series(series)
    if len(found.series) > len(shown):
        yield f"... and {len(found.series) - len(shown)} more series; --json has them all"
    damaged = [f"damaged: {reason}" for reason in found.damaged.values()]
    yield from _first(damaged, "damaged files")
    if found.ignored:
        yield f"ignored: {found.ignored} files that are not DICOM"


def _first(lines: Sequence[str], what: str) -> Iterator[str]:
    yield from lines[:LINES]
    if len(lines) > LINES:
        indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
        yield f"{indent}... and {len(lines) - LINES} more {what}"


def _series(series: SeriesSummary) -> Iterator[str]:
    files = f"{series.files} file" + ("s" if series.files != 1 else "")
    yield f"    series {series.number or 'without number'}: {series.modality}, {files}"
    groups = [list(group) for _, group in groupby(series.stacks, _alike)]
    for group in groups[:LINES]:
        yield f"      {_line(group)}"
        for problem in group[0].problems:
            yield f"        wrong [{problem.code}]: {problem.text}"
    if len(groups) > LINES:
        yield f"      ... and {len(groups) - LINES} more kinds of stack"
    yield from _first([f"      set aside: {file}: {reason}" for file, reason in series.aside.items()], "set aside")


def _alike(stack: StackSummary) -> object:
    """Stacks that one line can stand for: the volumes of a series in time."""
    codes = tuple(problem.code for problem in stack.problems)
    return stack.slices, stack.rows, stack.columns, stack.spacing_mm, codes, stack.flags


def _line(stacks: Sequence[StackSummary]) -> str:
    first, last = stacks[0], stacks[-1]
    size = f"{first.slices} x {first.rows} x {first.columns}"
    known = [s for s in first.spacing_mm if s is not None]
    steps = " x ".join("varying" if s is None else f"{s:.4g}" for s in first.spacing_mm)
    parts = [
        size,
        f"{steps} mm" if known else "places not stated",
        first.orientation,
        *(f"note: {flag}" for flag in first.flags),
    ]
    text = ", ".join(part for part in parts if part)
    if len(stacks) > 1:
        few = len(stacks) <= FEW
        named = "; ".join(s.label for s in stacks) if few else f"{first.label} to {last.label}"
        return f"{len(stacks)} times {text}: {named}"
    return f"{first.label}: {text}" if first.label else text
