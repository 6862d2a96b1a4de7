"""Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022): ``dataset.json`` that lists its files.

``training`` lists images with labels; ``test`` lists images, the split ``unlabelled``. A file of several modalities has
them along its fourth axis: each becomes an image of its own. The patient of a case is the case itself unless a
``cases.csv`` beside ``dataset.json`` (``case``, ``patient``, ``class.<name>``, attributes) says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isocenter.data.dataset import CaseDataset
from isocenter.data.layouts.nnunet import channel_images
from isocenter.data.layouts.parts import LabelFile, drop_suffix, read_facts, schema_from_json, with_facts
from isocenter.data.layouts.registry import register_layout
from isocenter.data.modality import guess_modality
from isocenter.data.problems import CaseProblem
from isocenter.data.splits import UNLABELLED, Splits
from isocenter.errors import DatasetError, FileFormatError, IsocenterError
from isocenter.records import Case, LabelMap, LabelSchema

__all__ = ["MsdLayout"]


@register_layout("msd")
class MsdLayout:
    """A folder ``TaskXX_Name``."""

    def detect(self, path: Path) -> bool:
        """Whether ``dataset.json`` lists files under ``training``."""
        import json

        try:
            found = json.loads((path / "dataset.json").read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and isinstance(found.get("training"), list)

    def read(self, path: Path) -> CaseDataset:
        """See the module."""
        from isocenter.io.files import read_json

        where = path / "dataset.json"
        found = read_json(where)
        reader = _Reader(path, channel_images(found, str(where)), schema_from_json(found.get("labels"), str(where)))
        problems: list[CaseProblem] = []
        train = reader.cases(found["training"], problems, labelled=True)
        test = reader.cases(found.get("test", []), problems, labelled=False)
        cases, unknown = with_facts([*train, *test], read_facts(path))
        problems += [CaseProblem(i, "cases.csv has no row for it, so its patient is unknown") for i in unknown]
        held = {case.id for case in test}
        parts = {
            "train": [case.id for case in cases if case.id not in held],
            UNLABELLED: [case.id for case in cases if case.id in held],
        }
        return CaseDataset(
            path.resolve().name,
            tuple(cases),
            schema=reader.schema,
            splits=Splits({name: ids for name, ids in parts.items() if ids}) if parts[UNLABELLED] else None,
            problems=tuple(problems),
            image_order=reader.images,
        )


@dataclass(frozen=True)
class _Reader:
    root: Path
    images: tuple[str, ...]
    schema: LabelSchema

    def cases(self, entries: Any, problems: list[CaseProblem], *, labelled: bool) -> list[Case]:
        """Cases of one list; those whose files are missing or of another number of channels become problems."""
        found = []
        for entry in entries:
            image, label = _files(self.root / "dataset.json", entry, labelled)
            case = drop_suffix(image)
            try:
                found.append(self._case(case, self.root / image, self.root / label if label else None))
            except IsocenterError as error:
                problems.append(CaseProblem.of(case, error))
        return found

    def _case(self, case: str, image: Path, label: Path | None) -> Case:
        from isocenter.io.nifti import nifti_channels
        from isocenter.io.refs import nifti_ref

        channels = nifti_channels(image)
        if channels != len(self.images):
            raise FileFormatError(
                f"{image}: {channels} channels, dataset.json declares {len(self.images)} ({', '.join(self.images)})"
            )
        refs = {
            name: nifti_ref(name, image, guess_modality(name), channel=i if channels > 1 else None)
            for i, name in enumerate(self.images)
        }
        if label is None:
            return Case(case, case, refs)
        truth = LabelMap(image=self.images[0], source=str(label), schema=self.schema, read=LabelFile(label))
        return Case(case, case, refs, (truth,))


def _files(where: Path, entry: Any, labelled: bool) -> tuple[str, str | None]:
    if isinstance(entry, str) and not labelled:
        return entry, None
    if isinstance(entry, Mapping) and isinstance(entry.get("image"), str):
        label = entry.get("label")
        if isinstance(label, str) or not labelled:
            return entry["image"], label if labelled else None
    raise DatasetError(f'{where}: expected {{"image": file, "label": file}} in "training", found {entry!r:.120}')
