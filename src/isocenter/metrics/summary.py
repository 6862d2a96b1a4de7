"""From measures of single cases to the tables of ``metrics.json``.

Means. A structure's figure is the mean over the cases that have it, missed and false ones included with their
penalties, absent ones left out. The summary's figure is the mean over structures, so that a rare structure counts as
much as a common one. Figures of a whole set (AUC, average precision) come from pools, structure by structure, and are
averaged likewise. Intervals resample patients with all of their cases and repeat exactly this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import ConfigError, DatasetError
from isocenter.metrics.bootstrap import patient_draws, percentile_interval
from isocenter.metrics.measure import Measure, Outcome
from isocenter.metrics.pools import Pool, class_pool, detection_pool

__all__ = ["summarise"]

_INTERVALS = ("dice", "accuracy", "auc", "ap", "cpm")


@dataclass(frozen=True)
class _Settings:
    pools: Sequence[Pool]
    intervals: Collection[str]
    level: float
    resamples: int
    seed: int


def summarise(
    measures: Sequence[Measure],
    *,
    groups: Mapping[str, Mapping[str, str]] | None = None,
    pools: Sequence[Pool] = (class_pool, detection_pool),
    intervals: Collection[str] = _INTERVALS,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Builds the content of ``metrics.json``.

    Args:
        measures: One a case and structure.
        groups: Attribute -> case -> value; the summary is repeated for each value. Cases without one are grouped as
            ``"unknown"``, never dropped.
        pools: Figures of whole sets; each passes over measures that are not its kind.
        intervals: Figures that get an interval, as ``<figure>_interval``.
        level: Coverage of the intervals, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        ``summary``: figures, intervals, and numbers of ``cases``, ``patients``, ``missed``, ``false``, ``absent``;
        ``structures``: the same by name; ``cases``: figures and outcome by case and name; ``groups``, where asked
        for: the same as ``summary`` by attribute and value. Only plain numbers, strings and ``None``, which stands
        where a figure has no value (nothing to measure, or an interval over fewer than two patients). No patient is
        named.

    Raises:
        DatasetError: No measure, a structure measured twice in a case, or a case of two patients.
        ConfigError: Settings out of range.

    Example:
        >>> rows = [
        ...     Measure("c1", "p1", "liver", {"dice": 0.9}),
        ...     Measure("c2", "p2", "liver", {"dice": 0.0}, "missed"),
        ...     Measure("c3", "p3", "liver", {"dice": 1.0}, "absent"),
        ... ]
        >>> table = summarise(rows)["summary"]
        >>> table["dice"], table["cases"], table["missed"], table["absent"]
        (0.45, 3, 1, 1)

    Reference:
        Maier-Hein, Reinke et al., *Metrics Reloaded*, Nature Methods 21 (2024), on empty references and aggregation.
    """
    _refuse_contradictions(measures)
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(f"level {level} must lie between 0 and 1, and resamples {resamples} be at least 1")
    settings = _Settings(pools, intervals, level, resamples, seed)
    ordered = sorted(measures, key=lambda m: (m.case, m.name))
    names = list(dict.fromkeys(m.name for m in measures))
    found: dict[str, Any] = {
        "summary": _entry(ordered, settings),
        "structures": {name: _entry([m for m in ordered if m.name == name], settings) for name in names},
        "cases": _cases(measures),
    }
    if groups is not None:
        found["groups"] = {attribute: _grouped(ordered, of, settings) for attribute, of in groups.items()}
    return found


def _refuse_contradictions(measures: Sequence[Measure]) -> None:
    if not measures:
        raise DatasetError("no case was measured; check the split and the labels of the dataset")
    (case, name), count = Counter((m.case, m.name) for m in measures).most_common(1)[0]
    if count > 1:
        raise DatasetError(f"{name!r} was measured {count} times in case {case}; give each case one id")
    patient_of: dict[str, str] = {}
    for m in measures:
        if patient_of.setdefault(m.case, m.patient) != m.patient:
            raise DatasetError(f"case {m.case} belongs to two patients; mend the table of cases")


def _cases(measures: Sequence[Measure]) -> dict[str, dict[str, dict[str, float | str | None]]]:
    keys: dict[str, dict[str, None]] = {}
    for m in measures:
        keys.setdefault(m.name, {}).update(dict.fromkeys(m.values))
    found: dict[str, dict[str, dict[str, float | str | None]]] = {}
    for m in measures:
        row: dict[str, float | str | None] = dict.fromkeys(keys[m.name])
        if m.outcome != "absent":
            row.update({key: float(value) for key, value in m.values.items()})
        found.setdefault(m.case, {})[m.name] = {**row, "outcome": m.outcome}
    return found


def _grouped(measures: Sequence[Measure], value_of: Mapping[str, str], settings: _Settings) -> dict[str, Any]:
    parts: dict[str, list[Measure]] = {}
    for m in measures:
        parts.setdefault(str(value_of.get(m.case, "unknown")), []).append(m)
    return {value: _entry(parts[value], settings) for value in sorted(parts)}


def _entry(measures: Sequence[Measure], settings: _Settings) -> dict[str, Any]:
    """One table: figures averaged over the structures in it, intervals, counts."""
    patients = sorted({m.patient for m in measures})
    names = sorted({m.name for m in measures})
    rows = {name: [m for m in measures if m.name == name] for name in names}
    draws = patient_draws(len(patients), settings.resamples, settings.seed) if len(patients) > 1 else None
    found: dict[str, Any] = {}
    for key in dict.fromkeys(k for m in measures for k in m.values):
        sums, counts = _by_patient(rows, key, patients)
        found[key] = _finite(_macro(sums.sum(axis=0, keepdims=True), counts.sum(axis=0, keepdims=True))[0])
        if key in settings.intervals:
            # einsum, not a matrix product: its sum has one order, whatever the number of threads
            drawn = [] if draws is None else [np.einsum("rp,pk->rk", draws.astype(float), t) for t in (sums, counts)]
            found[f"{key}_interval"] = _interval(_macro(*drawn), settings.level) if drawn else None
    found |= _pooled(rows, patients, draws, settings)
    outcomes = Counter(m.outcome for m in measures)
    found |= {"cases": len({m.case for m in measures}), "patients": len(patients)}
    return found | {outcome: outcomes[outcome] for outcome in get_args(Outcome) if outcome != "found"}


def _by_patient(
    rows: Mapping[str, Sequence[Measure]], key: str, patients: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts of a figure, each ``(patient, structure)``."""
    place = {patient: k for k, patient in enumerate(patients)}
    sums, counts = np.zeros((2, len(patients), len(rows)))
    for column, measures in enumerate(rows.values()):
        for m in measures:
            if m.outcome != "absent" and key in m.values:
                sums[place[m.patient], column] += m.values[key]
                counts[place[m.patient], column] += 1
    return sums, counts


def _macro(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over structures of their means, ``(row, structure)`` to ``(row,)``; NaN where no structure has a case."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    present = (counts > 0).sum(axis=1)
    out = np.full(len(sums), np.nan)
    np.divide(means.sum(axis=1), present, out=out, where=present > 0)
    return out


def _pooled(
    rows: Mapping[str, Sequence[Measure]],
    patients: Sequence[str],
    draws: NDArray[np.int64] | None,
    settings: _Settings,
) -> dict[str, Any]:
    """Figures of whole sets, averaged over structures."""
    found: dict[str, Any] = {}
    place = {patient: k for k, patient in enumerate(patients)}
    for pool in settings.pools:
        figures = _pool_macro(pool, rows)
        wanted = [key for key in figures if key in settings.intervals]
        resampled: dict[str, list[float]] = {key: [] for key in wanted}
        for draw in draws if wanted and draws is not None else ():
            part = {name: [m for m in ms for _ in range(draw[place[m.patient]])] for name, ms in rows.items()}
            for key, value in _pool_macro(pool, part).items():
                if key in resampled and value is not None:
                    resampled[key].append(value)
        for key, value in figures.items():
            found[key] = value
            if key in wanted:
                found[f"{key}_interval"] = _interval(np.array(resampled[key]), settings.level)
    return found


def _pool_macro(pool: Pool, rows: Mapping[str, Sequence[Measure]]) -> dict[str, float | None]:
    tables = [pool(measures) for measures in rows.values() if measures]
    keys = dict.fromkeys(key for table in tables for key in table)
    found: dict[str, float | None] = {}
    for key in keys:
        values = [float(v) for table in tables if (v := table.get(key)) is not None]
        found[key] = float(np.mean(values)) if values else None
    return found


def _interval(resampled: NDArray[np.float64], level: float) -> list[float] | None:
    finite = resampled[np.isfinite(resampled)]
    return list(percentile_interval(finite, level)) if finite.size else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
