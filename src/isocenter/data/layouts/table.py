"""A CSV table: one row a case. The layout that can say most.

Columns: ``case``; ``patient`` (the case itself where the column is missing); ``image.<name>``, a NIfTI file or a folder
with one DICOM series; ``label[.<set>][@<image>]``, a label map of a set (none: the main one) on an image's grid (none:
the first image's); ``boxes[.<set>][@<image>]``, a JSON file of boxes; ``class.<name>``, a class (``a;b`` for several);
``split``; all others are attributes. Paths are relative to the table. An empty cell: the case has no such thing.

``labels.json`` or ``dataset.json`` beside the table may declare the structures, ``{"labels": {"liver": 1}}``, and
those of single sets, ``{"sets": {"scribble": {"liver": 1, "ignore": 4}}}``. Without it each value ``v`` found in the
label maps becomes ``structure_<v>``. Boxes are of the declared structures, else of the classes found, sorted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isocenter.data.boxes import BoxList, read_boxes
from isocenter.data.dataset import CaseDataset
from isocenter.data.layouts.parts import LabelFile, attributes_of, class_labels, schema_from_json
from isocenter.data.layouts.registry import register_layout
from isocenter.data.modality import guess_modality
from isocenter.data.problems import CaseProblem
from isocenter.data.splits import Splits
from isocenter.errors import DatasetError, FileFormatError, IsocenterError
from isocenter.records import Annotation, Case, ImageRef, LabelMap, LabelSchema

__all__ = ["TableLayout"]

_COLUMN = re.compile(r"(?P<kind>label|boxes)(\.(?P<set>[^@]+))?(@(?P<image>.+))?")
_NAME = "table.csv"


@register_layout("table")
class TableLayout:
    """A CSV file, or a folder with ``table.csv``."""

    def detect(self, path: Path) -> bool:
        """Whether there is a table with columns ``case`` and ``image.*``."""
        table = path / _NAME if path.is_dir() else path
        if not table.is_file() or table.suffix.lower() != ".csv":
            return False
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline()
        return path.is_dir() or ("case" in header and "image." in header)

    def read(self, path: Path) -> CaseDataset:
        """See the module."""
        from isocenter.io.tables import read_csv

        table = path / _NAME if path.is_dir() else path
        rows = read_csv(table)
        reader = _Reader(table, _columns(table, rows[0]), _declared(table.parent))
        ids = [row["case"] for row in rows]
        doubled = next((i for i in ids if ids.count(i) > 1), None) if len(set(ids)) < len(ids) else None
        if "" in ids:
            raise DatasetError(f"{table}: row {ids.index('') + 1} has no 'case'; give each row an id")
        if doubled is not None:
            raise DatasetError(f"{table}: case {doubled} has {ids.count(doubled)} rows; ids must be unique")
        return reader.dataset(rows)


@dataclass(frozen=True)
class _Columns:
    images: tuple[str, ...]
    labels: tuple[tuple[str, str, str], ...]  # column, set, image
    boxes: tuple[tuple[str, str, str], ...]
    classes: tuple[str, ...]


def _columns(table: Path, header: Mapping[str, str]) -> _Columns:
    images = tuple(c.removeprefix("image.") for c in header if c.startswith("image.") and c != "image.")
    if "case" not in header or not images:
        raise DatasetError(f"{table}: a column 'case' and one 'image.<name>' are needed (columns: {', '.join(header)})")
    found: dict[str, list[tuple[str, str, str]]] = {"label": [], "boxes": []}
    for column in header:
        match = _COLUMN.fullmatch(column)
        if match is None:
            continue
        image = match["image"] or images[0]
        if image not in images:
            raise DatasetError(f"{table}: column '{column}' speaks of image '{image}', there is {', '.join(images)}")
        found[match["kind"]].append((column, match["set"] or "main", image))
    classes = tuple(c for c in header if c.startswith("class."))
    return _Columns(images, tuple(found["label"]), tuple(found["boxes"]), classes)


def _declared(folder: Path) -> dict[str, LabelSchema]:
    """Schemas by set that a file beside the table declares; ``main`` stands for sets that are not named."""
    from isocenter.io.files import read_json

    for path in (folder / "labels.json", folder / "dataset.json"):
        if path.is_file():
            found = read_json(path)
            if not isinstance(found, dict) or not isinstance(found.get("sets", {}), dict):
                raise DatasetError(f'{path}: expected {{"labels": {{name: value}}, "sets": {{set: {{name: value}}}}}}')
            sets = {"main": found["labels"]} if "labels" in found else {}
            sets.update(found.get("sets", {}))
            return {name: schema_from_json(labels, str(path)) for name, labels in sets.items()}
    return {}


@dataclass(frozen=True)
class _Reader:
    table: Path
    columns: _Columns
    schemas: Mapping[str, LabelSchema]

    def dataset(self, rows: list[dict[str, str]]) -> CaseDataset:
        boxes, problems = self._boxes(rows)
        names = sorted({c for found in boxes.values() for b in found.values() for c in b.classes})
        derived = LabelSchema.of({name: i for i, name in enumerate(names, start=1)})
        questions = [class_labels(rows, c, str(self.table)) for c in self.columns.classes]
        cases = []
        for i, row in enumerate(rows):
            classes = [label for labels in questions if (label := labels[i]) is not None]
            try:
                if row["case"] not in boxes:
                    continue
                found = [
                    b.annotation(
                        self._schema(name) or derived, name=name, image=image, source=str(self._path(row, column))
                    )
                    for (column, name, image) in self.columns.boxes
                    if (b := boxes[row["case"]].get(column)) is not None
                ]
                cases.append(self._case(row, (*self._labels(row), *found, *classes)))
            except IsocenterError as error:
                problems.append(CaseProblem.of(row["case"], error))
        schema = self._schema("main") or (derived if names else None)
        splits = _splits(rows)
        return CaseDataset(
            self.table.parent.resolve().name,
            tuple(cases),
            schema=schema,
            splits=splits,
            problems=tuple(problems),
            image_order=self.columns.images,
        )

    def _schema(self, name: str) -> LabelSchema | None:
        return self.schemas.get(name) or self.schemas.get("main")

    def _path(self, row: Mapping[str, str], column: str) -> Path:
        path = self.table.parent / row[column]
        if not path.exists():
            raise DatasetError(f"column '{column}': no file {path}; paths are relative to the table")
        return path

    def _case(self, row: Mapping[str, str], annotations: tuple[Annotation, ...]) -> Case:
        images = {n: self._image(n, self._path(row, f"image.{n}")) for n in self.columns.images if row[f"image.{n}"]}
        if not images:
            raise DatasetError(
                f"no image: the columns {', '.join('image.' + n for n in self.columns.images)} are empty"
            )
        return Case(row["case"], row.get("patient") or row["case"], images, annotations, attributes_of(row))

    def _image(self, name: str, path: Path) -> ImageRef:
        from isocenter.io.refs import nifti_ref, series_ref

        if not path.is_dir():
            return nifti_ref(name, path, guess_modality(name))
        from isocenter.io.dicom import find_series

        series = find_series(path)
        if len(series) != 1:
            raise FileFormatError(f"image '{name}': {len(series)} DICOM series in {path}, one is needed")
        return series_ref(name, series[0])

    def _labels(self, row: Mapping[str, str]) -> list[LabelMap]:
        found = []
        for column, name, image in self.columns.labels:
            if row[column]:
                path = self._path(row, column)
                schema = self._schema(name) or LabelSchema(())  # empty: derived from the values later
                read = LabelFile(path)
                found.append(LabelMap(name=name, image=image, source=str(path), schema=schema, read=read))
        return found

    def _boxes(self, rows: list[dict[str, str]]) -> tuple[dict[str, dict[str, BoxList]], list[CaseProblem]]:
        """Boxes by case and column; cases whose files are damaged become problems."""
        found: dict[str, dict[str, BoxList]] = {}
        problems = []
        for row in rows:
            try:
                found[row["case"]] = {c: read_boxes(self._path(row, c)) for c, *_ in self.columns.boxes if row[c]}
            except IsocenterError as error:
                problems.append(CaseProblem.of(row["case"], error))
        return found, problems


def _splits(rows: list[dict[str, str]]) -> Splits | None:
    parts: dict[str, list[str]] = {}
    for row in rows:
        if row.get("split"):
            parts.setdefault(row["split"], []).append(row["case"])
    return Splits(parts) if parts else None
