"""Splits drawn by patient, stratified, and stable when patients are added."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from isocenter.data.splits import Splits
from isocenter.errors import SplitError
from isocenter.records import Case, ClassLabel

if TYPE_CHECKING:
    from isocenter.data.dataset import Dataset

__all__ = ["StratifyBy", "kfold", "make_splits"]

StratifyBy = str | Callable[[Case], str] | None


def make_splits(
    dataset: Dataset, *, val: float = 0.2, test: float = 0.0, seed: int = 0, stratify_by: StratifyBy = "auto"
) -> Splits:
    """Splits of ``dataset`` with a ``val`` (and a ``test``) part, completed from what it already has.

    Parts that ``dataset.splits`` names stay as they are; ``val`` and ``test`` are drawn only where they are missing,
    out of its ``train`` part (out of all cases where it has no splits; ``dataset.subset(dataset.ids)`` has none).

    All cases of a patient stay together. In each stratum patients are ordered by SHA-256 of seed and patient; the first
    go to ``test``, the next to ``val``, the rest to ``train``. So the order of the table does not matter, and adding
    a patient moves at most one other patient across each border of a stratum.

    Args:
        dataset: Cases with their patients.
        val: Share of the patients drawn from, at least one patient; 0 for none.
        test: Likewise.
        seed: Another seed, another draw.
        stratify_by: Name of a class label or attribute, or a function of a case; each stratum gives its share, by
            largest remainders. ``"auto"``: the dataset's class label where it has exactly one. ``None``: no strata.

    Raises:
        SplitError: Fewer patients than parts, shares that leave nothing, or an unknown ``stratify_by``.
    """
    fixed: dict[str, tuple[str, ...]] = dict(dataset.splits or {})
    pool = fixed.pop("train", dataset.ids)
    wanted = {name: share for name, share in (("test", test), ("val", val)) if share > 0 and name not in fixed}
    if min(val, test) < 0 or sum(wanted.values()) >= 1:
        raise SplitError(f"shares val={val:g} and test={test:g} must be at least 0 and together below 1")
    strata = _strata(dataset, pool, seed, stratify_by)
    total = sum(map(len, strata.values()))
    _require_patients(dataset, pool, total, 1 + len(wanted), ["train", *wanted])
    parts: dict[str, set[str]] = {}
    spare = total - 1 - len(wanted)
    for name, share in wanted.items():
        count = min(max(1, int(share * total + 0.5)), 1 + spare)
        spare -= count - 1
        parts[name] = _take(strata, count, seed)
    return _assemble(dataset, pool, parts, fixed)


def kfold(dataset: Dataset, k: int = 5, *, seed: int = 0, stratify_by: StratifyBy = "auto") -> list[Splits]:
    """``k`` splits into ``train`` and ``val``; every patient is in ``val`` once.

    Parts of ``dataset.splits`` other than ``train`` and ``val`` (``test``, ``unlabelled``) stay out of the folds and
    are passed on in each. Strata as in `make_splits`; in each, patients in the order of their hash are cut into ``k``
    runs, so that an added patient moves at most one patient across each border.

    Raises:
        SplitError: ``k`` is below 2 or above the number of patients.
    """
    fixed: dict[str, tuple[str, ...]] = dict(dataset.splits or {})
    inner = {*fixed.pop("train", ()), *fixed.pop("val", ())} or set(dataset.ids)
    pool = tuple(i for i in dataset.ids if i in inner)
    strata = _strata(dataset, pool, seed, stratify_by)
    if k < 2:
        raise SplitError(f"{k} folds asked for; at least 2 are needed")
    _require_patients(dataset, pool, sum(map(len, strata.values())), k, [f"fold {i}" for i in range(k)])
    folds: list[set[str]] = [set() for _ in range(k)]
    offset = 0
    for stratum in sorted(strata):
        start = 0
        for i in range(k):
            # the larger runs of a stratum start where those of the one before ended, so that folds stay of equal size
            size = len(strata[stratum]) // k + ((i - offset) % k < len(strata[stratum]) % k)
            folds[i].update(strata[stratum][start : start + size])
            start += size
        offset = (offset + len(strata[stratum])) % k
    return [_assemble(dataset, pool, {"val": fold}, fixed) for fold in folds]


def _assemble(
    dataset: Dataset, pool: Sequence[str], parts: Mapping[str, set[str]], fixed: Mapping[str, tuple[str, ...]]
) -> Splits:
    """Splits from the patients of each drawn part; what nobody took is ``train``."""
    patient = {i: dataset[i].patient for i in pool}
    drawn = {name: [i for i in pool if patient[i] in who] for name, who in sorted(parts.items(), reverse=True)}
    taken = {i for ids in drawn.values() for i in ids}
    return Splits({"train": [i for i in pool if i not in taken], **drawn, **fixed}).resolve(dataset)


def _take(strata: dict[str, list[str]], count: int, seed: int) -> set[str]:
    """Remove ``count`` patients from the front of the strata, in proportion to their sizes (largest remainders)."""
    total = sum(map(len, strata.values()))
    exact = {name: count * len(who) / total for name, who in strata.items()}
    quota = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(strata, key=lambda name: (quota[name] - exact[name], _key(seed, name)))
    for name in by_remainder[: count - sum(quota.values())]:
        quota[name] += 1
    taken: set[str] = set()
    for name, number in quota.items():
        taken.update(strata[name][:number])
        strata[name] = strata[name][number:]
    return taken


def _strata(dataset: Dataset, pool: Sequence[str], seed: int, stratify_by: StratifyBy) -> dict[str, list[str]]:
    """Patients of each stratum in the order of their hash."""
    stratum = _stratum_function(dataset, stratify_by)
    values: dict[str, set[str]] = {}
    for case in (dataset[i] for i in pool):
        values.setdefault(case.patient, set()).add(stratum(case))
    strata: dict[str, list[str]] = {}
    for patient in sorted(values, key=lambda p: _key(seed, p)):
        strata.setdefault("+".join(sorted(values[patient])), []).append(patient)
    return strata


def _stratum_function(dataset: Dataset, stratify_by: StratifyBy) -> Callable[[Case], str]:
    if callable(stratify_by):
        return stratify_by
    questions = {a.name for case in dataset for a in case.annotations if isinstance(a, ClassLabel)}
    if stratify_by == "auto":
        stratify_by = next(iter(questions)) if len(questions) == 1 else None
    if stratify_by is None:
        return lambda case: ""
    name = stratify_by.removeprefix("class.")
    if name in questions:
        return lambda case: ",".join(label.values) if (label := case.find(ClassLabel, name=name)) else "?"
    attributes = {key for case in dataset for key in case.attributes}
    if name not in attributes:
        have = ", ".join(sorted(questions | attributes)) or "nothing to stratify by"
        raise SplitError(f"cannot stratify by '{stratify_by}': no such class label or attribute (there is: {have})")
    return lambda case: case.attributes.get(name, "?")


def _require_patients(dataset: Dataset, pool: Sequence[str], have: int, need: int, parts: Sequence[str]) -> None:
    if have >= need:
        return
    what = f"one case only ({pool[0]})" if len(pool) == 1 else f"{len(pool)} cases of {have} patient{'s' * (have != 1)}"
    raise SplitError(
        f"dataset {dataset.name}: {what}; at least {need} patients are needed, one for each of {', '.join(parts)}"
    )


def _key(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()
