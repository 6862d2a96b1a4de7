"""nnU-Net raw: ``dataset.json``, ``imagesTr``, ``labelsTr`` (Isensee et al., Nature Methods 2021; format of version 2).

``channel_names`` (or ``modality`` of version 1) gives the names of the images; ``labels`` the structures, with regions
and ``ignore``. Cases of ``imagesTr`` without a label where others have one are named as problems. ``imagesTs``
with ``labelsTs`` is the split ``test``; without labels its cases are the split ``unlabelled``. A ``dataset`` entry,
which lists the files of each case, is followed. The patient of a case is the case itself unless ``cases.csv``
(``case``, ``patient``, ``class.<name>``, attributes) says otherwise: give one wherever a patient has several cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isocenter.data.dataset import CaseDataset
from isocenter.data.layouts.parts import LabelFile, drop_suffix, read_facts, schema_from_json, with_facts
from isocenter.data.layouts.registry import register_layout
from isocenter.data.modality import guess_modality, slug
from isocenter.data.problems import CaseProblem
from isocenter.data.splits import UNLABELLED, Splits
from isocenter.errors import DatasetError
from isocenter.records import Annotation, Case, ImageRef, LabelMap, LabelSchema

__all__ = ["NnUNetLayout", "channel_images"]

_ENDINGS = (".nii.gz", ".nii")


@register_layout("nnunet")
class NnUNetLayout:
    """A folder ``DatasetXXX_Name`` as under ``nnUNet_raw``."""

    def detect(self, path: Path) -> bool:
        """Whether there are ``dataset.json`` and ``imagesTr``."""
        return (path / "dataset.json").is_file() and (path / "imagesTr").is_dir()

    def read(self, path: Path) -> CaseDataset:
        """See the module."""
        from isocenter.io.files import read_json

        where = path / "dataset.json"
        found = read_json(where)
        if not isinstance(found, dict):
            raise DatasetError(f"{where}: not an object; expected channel_names, labels, file_ending")
        schema = schema_from_json(found.get("labels"), str(where))
        _check_region_order(where, found, schema)
        reader = _Reader(path, _ending(where, found), channel_images(found, str(where)), schema)
        listed = found.get("dataset")
        train, problems = reader.listed(listed) if isinstance(listed, dict) else reader.folder("Tr")
        test, test_problems = reader.folder("Ts")
        facts = read_facts(path)
        cases, unknown = with_facts([*train, *test], facts)
        problems += test_problems
        problems += [CaseProblem(i, "cases.csv has no row for it, so its patient is unknown") for i in unknown]
        splits = _splits({case.id: case for case in cases}, [case.id for case in test])
        return CaseDataset(
            path.resolve().name,
            tuple(cases),
            schema=schema,
            splits=splits,
            problems=tuple(problems),
            image_order=reader.images,
        )


def channel_images(found: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Image names from ``channel_names``, else ``modality``, in the order of the channels, each once.

    Raises:
        DatasetError: Neither is there, or the keys are not 0, 1, 2 ...
    """
    names = found.get("channel_names", found.get("modality"))
    if not isinstance(names, dict) or set(names) != {str(i) for i in range(len(names))} or not names:
        raise DatasetError(f'{where}: "channel_names" (or "modality") must be {{"0": name, "1": name, ...}}')
    images: list[str] = []
    for i in range(len(names)):
        name = slug(str(names[str(i)]))
        images.append(name if name not in images else f"{name}_{i}")
    return tuple(images)


def _ending(where: Path, found: Mapping[str, Any]) -> str:
    ending = str(found.get("file_ending", ".nii.gz"))
    if ending not in _ENDINGS:
        raise DatasetError(f"{where}: file_ending '{ending}' cannot be read; convert to {' or '.join(_ENDINGS)}")
    return ending


def _check_region_order(where: Path, found: Mapping[str, Any], schema: LabelSchema) -> None:
    order = found.get("regions_class_order")
    if order is not None and (not isinstance(order, list) or len(order) != len(schema)):
        raise DatasetError(
            f"{where}: regions_class_order is {order}, it must have one value for each of {schema.names}"
        )


def _splits(cases: Mapping[str, Case], test: list[str]) -> Splits | None:
    held = {i for i in test if i in cases}
    if not held:
        return None
    unlabelled = {i for i in held if not any(isinstance(a, LabelMap) for a in cases[i].annotations)}
    parts = {"train": set(cases) - held, "test": held - unlabelled, UNLABELLED: unlabelled}
    return Splits({name: sorted(ids) for name, ids in parts.items() if ids})


@dataclass(frozen=True)
class _Reader:
    root: Path
    ending: str
    images: tuple[str, ...]
    schema: LabelSchema

    def folder(self, part: str) -> tuple[list[Case], list[CaseProblem]]:
        """Cases of ``images<part>`` and ``labels<part>``."""
        cases, problems = [], []
        files: dict[str, dict[int, Path]] = {}
        folder, labels = self.root / f"images{part}", self.root / f"labels{part}"
        if not folder.is_dir():
            return [], []
        for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
            match = re.fullmatch(r"(.+)_(\d{4})" + re.escape(self.ending), path.name)
            if match is None:
                text = f"file {folder.name}/{path.name} is not named <case>_<channel as 0000>{self.ending}"
                problems.append(CaseProblem(drop_suffix(path), text))
            else:
                files.setdefault(match[1], {})[int(match[2])] = path
        labelled = labels.is_dir() and any(labels.iterdir())
        for case, channels in files.items():
            label = labels / f"{case}{self.ending}"
            if labelled and not label.exists():
                problems.append(CaseProblem(case, f"no label: {label} does not exist"))
                continue
            cases.append(self._case(case, channels, label if labelled else None, problems))
        if labelled:
            stray = {drop_suffix(p) for p in labels.glob(f"*{self.ending}") if not p.name.startswith(".")} - set(files)
            problems += [CaseProblem(i, f"no image in {folder} for label {i}{self.ending}") for i in sorted(stray)]
        return cases, problems

    def listed(self, listed: Mapping[str, Any]) -> tuple[list[Case], list[CaseProblem]]:
        """Cases whose files ``dataset.json`` names itself."""
        cases, problems = [], []
        for case, entry in listed.items():
            if not isinstance(entry, dict) or not isinstance(entry.get("images"), list) or "label" not in entry:
                raise DatasetError(f'{self.root / "dataset.json"}: case {case} must have "images" and "label"')
            files = {i: self.root / str(p) for i, p in enumerate(entry["images"])}
            label = self.root / str(entry["label"])
            missing = [str(p) for p in (*files.values(), label) if not p.exists()]
            if missing:
                problems.append(CaseProblem(case, f"{missing[0]} does not exist"))
            else:
                cases.append(self._case(case, files, label, problems))
        return cases, problems

    def _case(self, case: str, files: Mapping[int, Path], label: Path | None, problems: list[CaseProblem]) -> Case:
        from isocenter.io.refs import nifti_ref

        for i, name in enumerate(self.images):
            if i not in files:
                problems.append(CaseProblem(case, f"image '{name}' is missing (channel {i:04d})", kept=True))
        for i in sorted(set(files) - set(range(len(self.images)))):
            text = f"channel {i:04d} is not declared in dataset.json and is not used"
            problems.append(CaseProblem(case, text, kept=True))
        refs: dict[str, ImageRef] = {
            name: nifti_ref(name, files[i], guess_modality(name)) for i, name in enumerate(self.images) if i in files
        }
        annotations: tuple[Annotation, ...] = ()
        if label is not None:
            first = next(iter(refs), self.images[0])
            read = LabelFile(label)
            annotations = (LabelMap(image=first, source=str(label), schema=self.schema, read=read),)
        return Case(case, case, refs, annotations)
