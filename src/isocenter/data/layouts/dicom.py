"""A tree of DICOM files: every study a case, its CT, MR and PET series images, its segmentations and contours labels.

- A case is called after the shortest part of its folder's path that no other study shares (``patient_1``,
  ``patient_1_baseline``), so folder names should be pseudonyms. The patient is a hash of the Patient ID (of the study
  where that is blank).
- An image is called ``ct``, ``mr``, ``pet`` after its modality. Where a study has several series of a modality, the one
  that a segmentation refers to keeps that name and the others add their description; where none or several
  are referred to, all do.
- A series that holds several volumes gives an image for each, called after what tells them apart (``mr_echo_1``).
- A DICOM SEG becomes a label map on the series it refers to, and so do the closed contours of an RTSTRUCT; several on
  one series are united. Structures go by their names over all cases; one that a case lacks is taken to be absent there,
  one that cannot be read there leaves it without labels. If structures overlap in any case, all cases have masks.
- ``cases.csv`` at the top (``case``, ``patient``, ``class.<name>``, attributes) adds to this.

What cannot be read as one regular volume is named as a problem; the case is kept while it has another image.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.data.dataset import CaseDataset
from isocenter.data.layouts.parts import read_facts, with_facts
from isocenter.data.layouts.registry import register_layout
from isocenter.data.layouts.segments import DRAWN, Segmented, annotate, segmentations
from isocenter.data.modality import slug
from isocenter.data.problems import CaseProblem
from isocenter.errors import DatasetError
from isocenter.records import Case, ImageRef

if TYPE_CHECKING:
    from isocenter.io.dicom import Scan, Series, Stack

__all__ = ["DicomLayout"]

_NAMES = {"CT": "ct", "MR": "mr", "PT": "pet"}
_NOT_IMAGES = {"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "DOC", "REG", "AU", "PLAN", "RWV", "ANN"}
_LOOK_AT = 200
_MOST_VOLUMES = 8  # of one series; a longer series of times is no set of images of a case


@register_layout("dicom")
class DicomLayout:
    """Any folder with DICOM files in it."""

    def detect(self, path: Path) -> bool:
        """Whether one of the first files in the tree is DICOM."""
        looked = 0
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                looked += 1
                if looked > _LOOK_AT:
                    return False
                if _is_dicom(Path(folder, name)):
                    return True
        return False

    def read(self, path: Path) -> CaseDataset:
        """See the module."""
        from isocenter.io.dicom import scan_folder

        if not path.is_dir():
            raise DatasetError(f"{path}: is a file; give the folder that holds the DICOM files")
        return self.of_scan(path, scan_folder(path))

    def of_scan(self, path: Path, scan: Scan) -> CaseDataset:
        """The cases of a folder whose headers were read already."""
        studies: dict[str, list[Series]] = {}
        for series in scan.series:
            studies.setdefault(_study_key(path, series), []).append(series)
        problems = _stray_damage(path, scan)
        cases, segmented = [], {}
        for uid, name in sorted(_case_ids(path, studies).items(), key=lambda item: item[1]):
            case, segmented[name] = _case(name, studies[uid], problems)
            cases.append(case)
        cases, schema = annotate([case for case in cases if case.images], segmented, problems)
        cases, unknown = with_facts(cases, read_facts(path))
        problems += [CaseProblem(i, "cases.csv has no row for it, so its patient is unknown") for i in unknown]
        return CaseDataset(path.resolve().name, tuple(cases), schema=schema, problems=tuple(problems))


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _study_key(root: Path, series: Series) -> str:
    """Its Study Instance UID; where that is blank, the folder at the top that it lies in."""
    if series.study_uid:
        return series.study_uid
    inside = Path(series.headers[0].file).relative_to(root).parts
    return inside[0] if len(inside) > 1 else ""


def _stray_damage(root: Path, scan: Scan) -> list[CaseProblem]:
    """Damaged files in folders without a series, where they make no series incomplete."""
    beside = {file for series in scan.series for file in series.damaged}
    return [
        CaseProblem(os.path.relpath(file, root), text, "FileFormatError")
        for file, text in scan.damaged.items()
        if file not in beside
    ]


def _case_ids(root: Path, studies: Mapping[str, Sequence[Series]]) -> dict[str, str]:
    """Name of each study: the shortest start of its folder's path that is its own."""
    parts: dict[str, tuple[str, ...]] = {}
    for uid, series in studies.items():
        folders = {os.path.dirname(header.file) for one in series for header in one.headers}
        parts[uid] = Path(os.path.commonpath(folders)).relative_to(root).parts
    names: dict[str, str] = {}
    for depth in range(1 + max((len(p) for p in parts.values()), default=0)):
        shared = Counter(p[:depth] for p in parts.values())
        for uid, own in parts.items():
            if shared[own[:depth]] == 1 and (depth or not own):
                names.setdefault(uid, "_".join(own[:depth]) or root.resolve().name)
    for uid in sorted(studies):
        names.setdefault(uid, "_".join(parts[uid]) or root.resolve().name)
    return _numbered(names)


def _numbered(names: Mapping[str, str]) -> dict[str, str]:
    """Doubled names get a number."""
    doubled = {name for name, count in Counter(names.values()).items() if count > 1}
    count: Counter[str] = Counter()
    out: dict[str, str] = {}
    for key, name in names.items():
        count[name] += 1
        out[key] = f"{name}_{count[name]}" if name in doubled else name
    return out


def _case(name: str, series: Sequence[Series], problems: list[CaseProblem]) -> tuple[Case, list[Segmented]]:
    """The case of one study without its annotations, and its segmentations; without images where none can be used."""
    from isocenter.io.refs import series_ref

    found: list[CaseProblem] = []
    images = _usable(name, series, found)
    whole = [one for one, stack in images if not stack.keys]  # what is drawn on one of several volumes names none
    segmented = segmentations(name, [s for s in series if s.modality in DRAWN], whole, found)
    names = sorted(_image_names(images, {s.series for s in segmented}), key=lambda n: n[0])
    refs: dict[str, ImageRef] = {image: series_ref(image, one, stack) for image, one, stack in names}
    if not refs and not found:
        found.append(CaseProblem(name, f"no image: its series are {', '.join(s.modality for s in series)}"))
    problems += [CaseProblem(p.case, p.text, p.kind, kept=bool(refs)) for p in found]
    attributes = next((one.attributes for _, one, _ in names), {})
    # blank in anonymised files: then nothing says that two studies are of one person
    patient = series[0].patient or name
    patient = "p" + hashlib.sha256(patient.encode()).hexdigest()[:12]
    return Case(name, patient, refs, attributes=attributes), segmented


def _usable(name: str, series: Iterable[Series], problems: list[CaseProblem]) -> list[tuple[Series, Stack]]:
    """Regular volumes, also several of one series (echoes, b-values, phases); what is none becomes a problem."""
    usable = []
    for one in series:
        if one.modality in _NOT_IMAGES:
            continue
        stacks = one.stacks()
        defect = next((found[0] for stack in stacks if (found := stack.problems())), None)
        if defect is not None:  # its other stacks may lack what this one has too much
            problems.append(CaseProblem.of(name, defect.error()))
        elif len(stacks) > _MOST_VOLUMES:
            text = (
                f"series {one.uid}: holds {len(stacks)} volumes, up to {_MOST_VOLUMES} become images; convert it first"
            )
            problems.append(CaseProblem(name, text, "SeriesError"))
        else:
            usable += [(one, stack) for stack in stacks]
    return usable


def _image_names(images: Sequence[tuple[Series, Stack]], referred: set[str]) -> list[tuple[str, Series, Stack]]:
    groups: dict[str, list[int]] = {}
    for k, (one, _) in enumerate(images):
        groups.setdefault(_NAMES.get(one.modality, slug(one.modality)), []).append(k)
    names: dict[str, str] = {}
    for base, group in groups.items():
        chosen = [k for k in group if images[k][0].uid in referred]
        main = group[0] if len(group) == 1 else chosen[0] if len(chosen) == 1 else None
        several = len({images[k][0].uid for k in group}) > 1
        for k in group:
            one, stack = images[k]
            described = [slug(one.description) if one.description else "series"] if several or not stack.keys else []
            names[str(k)] = (
                base if k == main else "_".join([base, *described, *([slug(stack.label)] if stack.keys else [])])
            )
    names = _numbered(names)
    return [(names[str(k)], one, stack) for k, (one, stack) in enumerate(images)]
