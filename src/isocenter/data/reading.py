"""From a path to a dataset that has been checked."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isocenter.data.checks import check_geometry
from isocenter.data.dataset import CaseDataset
from isocenter.data.layouts import find_layout, layout_named
from isocenter.data.parallel import Progress, map_threads
from isocenter.data.problems import CaseProblem
from isocenter.data.splits import UNLABELLED, Splits
from isocenter.errors import DatasetError, IsocenterError
from isocenter.records import Case, LabelMap, LabelSchema, Structure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["checked", "read_dataset", "read_layout", "require_cases", "stated_splits"]

_SPLITS_FILE = "splits.json"
_SHOWN = 5
_log = logging.getLogger(__name__)


def read_dataset(
    path: Path,
    *,
    layout: str | None = None,
    splits: str | Path | Splits | None = None,
    progress: Progress | None = None,
) -> CaseDataset:
    """See `isocenter.data.Dataset.read`."""
    found = read_layout(path, layout)
    dataset = checked(found, progress=progress)
    require_cases(dataset)
    return dataset.with_splits(stated_splits(found, splits))


def read_layout(path: Path, layout: str | None = None) -> CaseDataset:
    """The cases as a layout finds them, not yet checked.

    Raises:
        DatasetError: Nothing is there, or no layout fits.
    """
    path = path.expanduser()
    if not path.exists():
        raise DatasetError(f"{path}: no such folder or file; give the folder of a dataset")
    if path.is_dir() and not any(path.iterdir()):
        raise DatasetError(f"{path}: the folder is empty; give the folder of a dataset")
    name = layout or find_layout(path)
    return replace(layout_named(name).read(path), path=path, layout=name)


def stated_splits(found: CaseDataset, splits: str | Path | Splits | None = None) -> Splits | None:
    """Splits of the argument, else of ``splits.json``, else of the layout; its unlabelled part is kept in any case.

    Raises:
        SplitError: The file is damaged.
    """
    given = _given_splits(found.path or Path(), splits) or found.splits
    if given is not None and found.splits and UNLABELLED in found.splits and UNLABELLED not in given:
        given = Splits({**given, UNLABELLED: found.splits[UNLABELLED]})
    return given


def _given_splits(path: Path, splits: str | Path | Splits | None) -> Splits | None:
    if isinstance(splits, Splits):
        return splits
    if splits is not None:
        return Splits.read(splits)
    beside = (path if path.is_dir() else path.parent) / _SPLITS_FILE
    return Splits.read(beside) if beside.is_file() else None


def checked(dataset: CaseDataset, *, progress: Progress | None = None) -> CaseDataset:
    """The cases whose headers fit together, with a schema; the others become problems. Splits are dropped."""
    open_sets = {a.name for c in dataset for a in c.annotations if isinstance(a, LabelMap) and not len(a.schema)}

    def look(case: Case) -> CaseProblem | dict[str, set[int]]:
        try:
            check_geometry(case)
            return _values(case, open_sets)
        except IsocenterError as error:
            return CaseProblem.of(case.id, error)

    looks = map_threads(look, dataset.cases, progress=progress)
    broken = tuple(found for found in looks if isinstance(found, CaseProblem))
    problems = (*dataset.problems, *broken)
    lost = {p.case for p in broken}
    cases = tuple(case for case in dataset if case.id not in lost)
    _report(dataset.name, len(cases), problems)
    result: CaseDataset = replace(dataset, cases=cases, problems=problems, splits=None)
    for name in sorted(open_sets):
        values = {v for found in looks if isinstance(found, dict) for v in found.get(name, ())}
        result = result.with_schema(_derived(values), name=name)
    return result


def _values(case: Case, sets: set[str]) -> dict[str, set[int]]:
    """Label values of a case by set of annotations."""
    found: dict[str, set[int]] = {}
    for annotation in case.annotations:
        if isinstance(annotation, LabelMap) and annotation.name in sets:
            values = np.unique(annotation.read().array).tolist()
            found.setdefault(annotation.name, set()).update(int(v) for v in values)
    return found


def _derived(values: set[int]) -> LabelSchema:
    return LabelSchema(tuple(Structure(f"structure_{v}", (v,)) for v in sorted(values - {0})))


def _report(name: str, usable: int, problems: Sequence[CaseProblem]) -> None:
    for problem in problems:
        _log.warning("dataset %s: %s%s", name, problem, " (the case is kept)" if problem.kept else "")
    unusable = len({p.case for p in problems if not p.kept})
    if unusable:
        _log.warning("dataset %s: %d of %d cases cannot be used", name, unusable, usable + unusable)


def require_cases(dataset: CaseDataset) -> None:
    """Refuse a dataset without cases.

    Raises:
        DatasetError: It has none; the first causes are named.
    """
    if len(dataset):
        return
    lost = [p for p in dataset.problems if not p.kept]
    causes = "; ".join(str(p) for p in lost[:_SHOWN]) or "it has none"
    more = f"; and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    raise DatasetError(f"dataset {dataset.name}: no case can be used: {causes}{more}")
