"""What several layouts share: label files, schemas in JSON, facts about cases in CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.errors import DatasetError, LabelError
from isocenter.records import Case, ClassLabel, LabelSchema

if TYPE_CHECKING:
    from isocenter.volume import Grid, Volume

__all__ = ["CaseFacts", "LabelFile", "class_labels", "drop_suffix", "read_facts", "schema_from_json", "with_facts"]


@dataclass(frozen=True)
class LabelFile:
    """Reads a label map from a NIfTI file; `grid` reads its header alone."""

    path: Path

    def __call__(self) -> Volume:
        """The label map."""
        from isocenter.io.nifti import read_label_nifti

        return read_label_nifti(self.path)

    def grid(self) -> Grid:
        """Where its voxels are."""
        from isocenter.io.nifti import read_nifti_grid

        return read_nifti_grid(self.path)


@dataclass(frozen=True)
class CaseFacts:
    """What a table says of a case beside its files."""

    patient: str
    classes: tuple[ClassLabel, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


def schema_from_json(labels: Any, where: str) -> LabelSchema:
    """Schema from ``{"background": 0, "liver": 1, "whole": [1, 2], "ignore": 9}`` or ``{"0": "background", ...}``.

    Characters that a structure name may not have become ``_``.

    Raises:
        DatasetError: Not such an object, or names and values that contradict each other.
    """
    if not isinstance(labels, dict) or not labels:
        raise DatasetError(f'{where}: "labels" must be an object of names and values, e.g. {{"liver": 1}}')
    pairs = [(name, key) if isinstance(name, str) else (key, name) for key, name in labels.items()]
    try:
        values = {
            _structure_name(str(n)): tuple(map(_whole, v)) if isinstance(v, list) else _whole(v) for n, v in pairs
        }
    except (TypeError, ValueError):
        raise DatasetError(f'{where}: "labels" has a value that is not a whole number: {labels!r:.200}') from None
    if len(values) < len(pairs):
        raise DatasetError(f'{where}: two "labels" have one name: {labels!r:.200}')
    try:
        return LabelSchema.of(values)
    except LabelError as error:
        raise DatasetError(f"{where}: {error}") from None


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError
    return number


def _structure_name(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "structure"


def drop_suffix(path: str | Path) -> str:
    """File name without ``.nii.gz`` or its last suffix."""
    name = Path(path).name
    return name.removesuffix(".gz").rpartition(".")[0] or name


def class_labels(rows: Sequence[Mapping[str, str]], column: str, source: str) -> list[ClassLabel | None]:
    """Class label of each row from column ``class.<name>``; ``None`` where the cell is empty.

    ``a;b`` in any cell means that several classes may hold. The classes of the question are all that occur, sorted.
    """
    cells = [tuple(v.strip() for v in row[column].split(";") if v.strip()) for row in rows]
    classes = tuple(sorted({value for cell in cells for value in cell}))
    exclusive = all(len(cell) < 2 for cell in cells)
    name = column.removeprefix("class.")
    return [
        ClassLabel(name=name, source=source, classes=classes, values=c, exclusive=exclusive) if c else None
        for c in cells
    ]


def read_facts(folder: Path) -> dict[str, CaseFacts] | None:
    """What ``cases.csv`` in ``folder`` says: ``case``, ``patient``, ``class.<name>``; other columns are attributes.

    Raises:
        DatasetError: It has no column ``case``, or a case twice.
    """
    from isocenter.io.tables import read_csv

    path = folder / "cases.csv"
    if not path.is_file():
        return None
    rows = read_csv(path)
    if "case" not in rows[0]:
        raise DatasetError(f"{path}: no column 'case' (columns: {', '.join(rows[0])})")
    questions = [class_labels(rows, column, str(path)) for column in rows[0] if column.startswith("class.")]
    facts: dict[str, CaseFacts] = {}
    for i, row in enumerate(rows):
        if row["case"] in facts:
            raise DatasetError(f"{path}: case {row['case']} has two rows")
        classes = tuple(label for labels in questions if (label := labels[i]) is not None)
        facts[row["case"]] = CaseFacts(row.get("patient") or row["case"], classes, attributes_of(row))
    return facts


def attributes_of(row: Mapping[str, str]) -> dict[str, str]:
    """Columns that are neither files nor classes nor known names, where they have a value."""
    own = ("case", "patient", "split", "label", "boxes")
    prefixes = ("image.", "label.", "label@", "boxes.", "boxes@", "class.")
    return {k: v for k, v in row.items() if v and k not in own and not k.startswith(prefixes)}


def with_facts(cases: Iterable[Case], facts: Mapping[str, CaseFacts] | None) -> tuple[list[Case], list[str]]:
    """Cases with the patient, classes and attributes of the table, and the ids that the table lacks.

    Without a table every case keeps its patient. With one, a case that it does not name is left out: its patient is
    unknown, so no split could keep it apart from others.
    """
    from dataclasses import replace

    found, missing = [], []
    for case in cases:
        if facts is None:
            found.append(case)
        elif case.id not in facts:
            missing.append(case.id)
        else:
            fact = facts[case.id]
            found.append(
                replace(
                    case,
                    patient=fact.patient,
                    annotations=(*case.annotations, *fact.classes),
                    attributes={**case.attributes, **fact.attributes},
                )
            )
    return found, missing
