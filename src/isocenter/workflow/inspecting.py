"""The verb `inspect`: what a path holds, and what is wrong with it.

DICOM is shown twice: as the cases that a dataset makes of it, and as it is, series after series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from isocenter.data import CaseDataset, CaseProblem, CaseReport, examine_case, find_layout, map_threads
from isocenter.data.layouts import layout_named
from isocenter.data.layouts.dicom import DicomLayout
from isocenter.data.reading import checked, read_layout, stated_splits
from isocenter.errors import DatasetError, SplitError
from isocenter.io.dicom import scan_folder
from isocenter.io.refs import nifti_ref
from isocenter.records import Annotation, Case, ClassLabel
from isocenter.workflow.dicomtree import DicomTree, SeriesSummary, dicom_tree, is_dicom, look_into
from isocenter.workflow.progress import Progress, told
from isocenter.workflow.summaries import (
    SCANNER,
    GeometrySummary,
    ImageSummary,
    StructureSummary,
    image_summary,
    scanners,
    structure_summaries,
)

__all__ = ["CaseSummary", "Inspection", "inspect"]

_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class CaseSummary:
    """One case.

    Attributes:
        id: Its id.
        patient: Pseudonym.
        images: Shape and spacing of each image.
        volumes_ml: Of each structure; only where the voxels were read.
    """

    id: str
    patient: str
    images: Mapping[str, GeometrySummary]
    volumes_ml: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspection:
    """What a path holds.

    Attributes:
        path: As it was given.
        kind: Layout of the dataset, ``"files"`` for NIfTI files that are none, or ``"dicom"``.
        cases: The usable ones.
        patients: How many.
        images: Modality and geometry of each image.
        structures: What is labelled.
        annotations: Number of cases by kind and set, e.g. ``{"LabelMap main": 60}``.
        classes: Number of cases of each class by question.
        scanners: Number of cases by manufacturer and model.
        attributes: Number of cases by value, of every other attribute.
        splits: Cases and patients of each part.
        problems: What is wrong with single cases.
        faults: What is wrong with the whole.
        deep: Voxels were read: volumes, value ranges, NaN, constant images and undeclared labels are looked at.
        series: Of DICOM: every one with its stacks, whether or not a case can be made of it.
        ignored: Of DICOM: how many files beside them are none.
        damaged: Of DICOM: files that cannot be parsed, with the reason.
    """

    path: str
    kind: str
    cases: tuple[CaseSummary, ...]
    patients: int
    images: tuple[ImageSummary, ...] = ()
    structures: tuple[StructureSummary, ...] = ()
    annotations: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    scanners: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    problems: tuple[CaseProblem, ...] = ()
    faults: tuple[str, ...] = ()
    deep: bool = False
    series: tuple[SeriesSummary, ...] = ()
    ignored: int = 0
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> int:
        """Number of cases that cannot be used."""
        return len({p.case for p in self.problems if not p.kept})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"usable": len(self.cases), "unusable": self.unusable}


def inspect(
    path: str | Path, *, layout: str | None = None, deep: bool = False, progress: Progress | None = None
) -> Inspection:
    """Look at a dataset, a DICOM folder, or NIfTI files.

    Args:
        path: A dataset in any layout, a folder of DICOM or NIfTI files, a ``.zip`` of DICOM files, or one file.
        layout: See `isocenter.data.Dataset.read`.
        deep: Read every voxel too.
        progress: Called with what is done, how far, and of how much.

    Raises:
        DatasetError: Nothing is there, or the dataset's own table or JSON file cannot be understood. Cases that cannot
            be used are not an error here; they are what the result names.

    Example:
        >>> import tempfile
        >>> from isocenter.io.nifti import write_nifti
        >>> from isocenter.volume import Grid, Volume
        >>> import numpy as np
        >>> folder = Path(tempfile.mkdtemp())
        >>> ramp = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        >>> write_nifti(folder / "ct.nii.gz", Volume(ramp, Grid.regular((2, 3, 4), spacing_mm=(5, 1, 1))))
        >>> found = inspect(folder)
        >>> found.kind, found.cases[0].id, found.cases[0].images["image"].spacing_mm
        ('files', 'ct.nii.gz', (5.0, 1.0, 1.0))
    """
    path = Path(path)
    found, tree = _found(path, layout, progress)
    dataset = checked(found, progress=told(progress, "checking cases"))
    faults: list[str] = []
    try:
        dataset = dataset.with_splits(stated_splits(found))
    except SplitError as error:
        faults.append(str(error))
    reports: dict[str, CaseReport] = {}
    if deep:
        read = map_threads(
            lambda case: examine_case(case, dataset.schema), list(dataset), progress=told(progress, "reading voxels")
        )
        reports = {report.case: report for report in read}
        wrong = [CaseProblem.of(r.case, e) for r in read for e in r.errors]
        dataset = replace(dataset, problems=(*dataset.problems, *wrong))
    summary = _summary(str(path), dataset, reports, faults)
    if tree is None:
        return summary
    patients = summary.patients or len({series.patient for series in tree.series})
    return replace(summary, patients=patients, series=tree.series, ignored=tree.ignored, damaged=tree.damaged)


def _found(path: Path, layout: str | None, progress: Progress | None) -> tuple[CaseDataset, DicomTree | None]:
    """The cases, and what lies beneath them where they are DICOM."""
    name = layout
    if layout is None:
        bare = _bare_files(path)
        if bare is not None:
            return bare, None
        if path.is_file() and is_dicom(path):
            return CaseDataset(path.name, (), path=path, layout="dicom"), look_into(path, progress)
    if layout is None and path.is_dir() and any(path.iterdir()):
        try:
            name = find_layout(path)
        except DatasetError:
            tree = look_into(path, progress)
            if not tree.series:
                raise
            return CaseDataset(path.name, (), path=path, layout="dicom"), tree
    chosen = layout_named(name) if name is not None and path.is_dir() else None
    if isinstance(chosen, DicomLayout):
        scan = scan_folder(path, progress=told(progress, "reading headers"))
        return replace(chosen.of_scan(path, scan), path=path, layout=name), dicom_tree(scan)
    return read_layout(path, name), None


def _bare_files(path: Path) -> CaseDataset | None:
    """NIfTI files that belong to no dataset, each as a case; ``None`` where a layout fits or there are none."""
    if path.is_dir() and any(path.iterdir()):
        try:
            find_layout(path)
        except DatasetError:
            files = sorted(p for p in path.rglob("*") if p.name.endswith(_SUFFIXES) and not p.name.startswith("."))
            names = [p.relative_to(path).as_posix() for p in files]
        else:
            return None
    elif path.is_file() and path.name.endswith(_SUFFIXES):
        files, names = [path], [path.name]
    else:
        return None
    cases = tuple(Case(n, n, {"image": nifti_ref("image", f)}) for n, f in zip(names, files, strict=True))
    return CaseDataset(path.name, cases, path=path, layout="files") if cases else None


def _summary(path: str, dataset: CaseDataset, reports: Mapping[str, CaseReport], faults: Sequence[str]) -> Inspection:
    attributes = _counted((key, value) for case in dataset for key, value in case.attributes.items())
    classes = [a for case in dataset for a in case.annotations if isinstance(a, ClassLabel)]
    lost = {p.case for p in dataset.problems if not p.kept}
    return Inspection(
        path=path,
        kind=dataset.layout or "dataset",
        cases=tuple(_case(case, reports.get(case.id)) for case in dataset if case.id not in lost),
        patients=len({case.patient for case in dataset if case.id not in lost}),
        images=tuple(image_summary(dataset, name, reports) for name in dataset.images),
        structures=structure_summaries(dataset, reports),
        annotations=dict(Counter(_kind(a) for case in dataset for a in _once(case))),
        classes=_counted((label.name, value) for label in classes for value in label.values),
        scanners=scanners(dataset),
        attributes={k: v for k, v in attributes.items() if not k.endswith(SCANNER)},
        splits={
            name: {"cases": len(ids), "patients": len({dataset[i].patient for i in ids})}
            for name, ids in (dataset.splits or {}).items()
        },
        problems=dataset.problems,
        faults=tuple(faults),
        deep=bool(reports),
    )


def _case(case: Case, report: CaseReport | None) -> CaseSummary:
    images = {name: GeometrySummary.of(ref.grid()) for name, ref in case.images.items()}
    return CaseSummary(case.id, case.patient, images, report.volumes_ml if report else {})


def _kind(annotation: Annotation) -> str:
    return f"{type(annotation).__name__} {annotation.name}"


def _once(case: Case) -> list[Annotation]:
    """One annotation of each kind and set: on how many images it lies is not counted."""
    return list({_kind(a): a for a in case.annotations}.values())


def _counted(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    out: dict[str, Counter[str]] = {}
    for key, value in pairs:
        out.setdefault(key, Counter())[value] += 1
    return {key: dict(sorted(count.items())) for key, count in out.items()}
