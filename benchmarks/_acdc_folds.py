"""Cross-validated segmentations of ACDC's 20 training patients, shared by benchmarks that need predictions of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc import protocol

from isocenter.data import CaseDataset, Splits
from isocenter.pipeline import Model
from isocenter.workflow import fit, load

FOLDS = 5


def groups(folder: Path) -> dict[str, str]:
    """Diagnosis of every patient."""
    with (folder / "cases.csv").open() as file:
        return {line["patient"]: line["group"] for line in csv.DictReader(file)}


def fold_of(folder: Path) -> dict[str, int]:
    """Fold of every training patient: each has patients of as many diagnoses as can be."""
    known, train = groups(folder), protocol(folder)["train"]
    found = {}
    for g, group in enumerate(sorted(set(known.values()))):
        for k, patient in enumerate(p for p in train if known[p] == group):
            found[patient] = (k + g) % FOLDS
    return found


def fold_models(
    folder: Path, dataset: CaseDataset, work: Path, settings: Mapping[str, Any], cache: Path
) -> Iterator[tuple[int, Sequence[str], Model]]:
    """Number, held-out patients and model of each fold; models that are there are not made again."""
    chosen = fold_of(folder)
    for number in range(FOLDS):
        held = [p for p, k in chosen.items() if k == number]
        out = work / f"fold_{number}"
        if not out.is_dir():
            splits = Splits({"train": [p for p in chosen if p not in held]})
            fit(dataset.with_splits(splits), out=out, settings=settings, cache=cache)
        yield number, held, load(out)


def stated(settings: Mapping[str, Any]) -> str:
    """Settings for the text of a result."""
    return json.dumps(dict(settings))
