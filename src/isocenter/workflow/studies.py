"""What a person points at, as a case that a model can read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from isocenter.data import Dataset, find_layout
from isocenter.errors import ConfigError, DatasetError, IsocenterError, SeriesError
from isocenter.io.archives import unpacked
from isocenter.io.dicom import Series, Stack, find_series
from isocenter.io.refs import nifti_ref, series_ref
from isocenter.plan import InputSpec, Plan
from isocenter.records import Case, ImageRef

__all__ = ["Study", "find_study"]

Study = Case | str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]]
NIFTI = (".nii", ".nii.gz")
SHOWN = 8
"""Volumes that a message lists when one has to be chosen."""
IMAGE_MODALITIES = {"CT", "MR", "PT", "NM", "CR", "DX", "MG", "US", "XA", "OT"}


def find_study(study: Study, plan: Plan) -> Case:
    """The case that a person means.

    Args:
        study: A `Case`; a DICOM folder or an archive of one; NIfTI files as ``{"ct": "file.nii.gz"}`` or
            ``"ct=file.nii.gz"`` (one or several; the name may be left out where the model reads one image); or a case
            of a dataset as ``"<dataset>/<case id>"``.
        plan: Says which images are needed, of which modality.

    Raises:
        DatasetError: Nothing there, or an image that the model needs is missing.
        SeriesError: Several series could be the one that is needed.
        ConfigError: Something that is none of these.
    """
    if isinstance(study, Case):
        return study
    if isinstance(study, Mapping):
        return _from_files({k: Path(v) for k, v in study.items()}, plan)
    parts = [os.fspath(p) for p in study] if isinstance(study, list | tuple) else [os.fspath(study)]  # type: ignore[arg-type]
    if any("=" in p for p in parts) or parts[0].endswith(NIFTI):
        return _from_files(_named(parts, plan), plan)
    if len(parts) != 1:
        raise ConfigError(f"several studies given ({', '.join(parts)}); predict one at a time, or files as name=path")
    return _from_folder(Path(parts[0]), plan)


def _named(parts: Sequence[str], plan: Plan) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for part in parts:
        name, equals, path = part.partition("=")
        if not equals:
            if len(plan.images) != 1:
                raise ConfigError(f"{part}: which image is it? give name=path; the model reads {_needed(plan)}")
            name, path = plan.images[0].name, part
        if name not in {i.name for i in plan.images}:
            raise ConfigError(f"{part}: the model reads no image {name!r}; it reads {_needed(plan)}")
        if name in files:
            raise ConfigError(f"image {name!r} is given twice: {files[name]} and {path}")
        files[name] = Path(path)
    return files


def _from_files(files: Mapping[str, Path], plan: Plan) -> Case:
    modality = {i.name: i.modality for i in plan.images}
    for name, path in files.items():
        if not path.exists():
            raise DatasetError(f"{path}: no such file (image {name!r})")
    images = {name: nifti_ref(name, path, modality.get(name)) for name, path in files.items()}
    first = next(iter(files.values()))
    case = first.name.removesuffix(".gz").removesuffix(".nii")
    return _complete(Case(case, case, images), plan)


def _from_folder(path: Path, plan: Plan) -> Case:
    if not path.exists():
        if _is_dataset(path.parent):
            return _of_dataset(path, plan)
        raise DatasetError(f"{path}: no such folder, file or case")
    folder = unpacked(path)
    if not folder.is_dir():
        raise ConfigError(f"{path}: is neither a DICOM folder nor a NIfTI file (.nii, .nii.gz)")
    if not any(folder.iterdir()):
        raise DatasetError(f"{path}: the folder is empty; give a DICOM folder")
    found = [s for s in find_series(folder) if s.modality in IMAGE_MODALITIES]
    if not found and _is_case(path):
        return _of_dataset(path, plan)
    if not found:
        raise DatasetError(f"{path}: holds no DICOM images; give a DICOM folder, name=file.nii.gz, or <dataset>/<case>")
    studies = {s.study_uid for s in found}
    if len(studies) > 1:
        raise SeriesError(f"{path}: holds {len(studies)} studies; predict one at a time")
    stacks = [(series, stack) for series in found for stack in series.stacks()]
    images: dict[str, ImageRef] = {}
    taken: list[Stack] = []
    for needed in plan.images:
        fitting = [(s, k) for s, k in stacks if s.modality == needed.modality and not any(k is t for t in taken)]
        if needed.modality == "OT" and len(plan.images) == 1:
            fitting = stacks
        if len(fitting) > 1:
            fitting = _choose(fitting, needed, path)
        if fitting:
            series, stack = fitting[0]
            images[needed.name] = series_ref(needed.name, series, stack)
            taken.append(stack)
    name = path.stem if path.is_file() else path.name
    return _complete(Case(name, name, images, attributes=found[0].attributes), plan)


def _choose(fitting: Sequence[tuple[Series, Stack]], needed: InputSpec, path: Path) -> list[tuple[Series, Stack]]:
    """The one whose folder is named like the image, else nobody may guess."""
    named = [(s, k) for s, k in fitting if Path(s.source).name.lower() == needed.name.lower()]
    if len(named) == 1:
        return named
    shown = [
        f"{s.description or 'no description'}{f', {k.label}' if k.label else ''} ({len(k)} images in {s.source})"
        for s, k in fitting[:SHOWN]
    ]
    listed = "; ".join(shown) + (f"; and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else "")
    raise SeriesError(
        f"{path}: {len(fitting)} {needed.modality} volumes could be image {needed.name!r}: {listed};"
        " give the folder of the one that is meant, or convert them first (isocenter convert)"
    )


def _is_dataset(path: Path) -> bool:
    if not path.is_dir():
        return False
    try:
        find_layout(path)
    except DatasetError:
        return False
    return True


def _is_case(path: Path) -> bool:
    """A folder without DICOM files may be a case of the dataset above it, in a layout that has a folder for each."""
    try:
        return path.name in Dataset.read(path.parent)
    except IsocenterError:
        return False


def _of_dataset(path: Path, plan: Plan) -> Case:
    dataset = Dataset.read(path.parent)
    if path.name not in dataset:
        near = ", ".join(list(dataset.ids)[:3])
        raise DatasetError(f"{path}: the dataset {path.parent} has no case {path.name!r} (it has {near} ...)")
    return _complete(dataset[path.name], plan)


def _complete(case: Case, plan: Plan) -> Case:
    missing = [i for i in plan.images if i.required and i.name not in case.images]
    if missing:
        have = ", ".join(case.images) or "none of those it reads"
        raise DatasetError(
            f"study {case.id}: image {missing[0].name!r} ({missing[0].modality}) is missing, the model needs it"
            f" (found: {have})"
        )
    return case


def _needed(plan: Plan) -> str:
    return ", ".join(f"{i.name} ({i.modality})" for i in plan.images)
