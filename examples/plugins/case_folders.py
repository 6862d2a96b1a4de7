"""A layout from outside the package: a folder for each case, and `about.json` that says what is in them.

On disk, and on the command line:

    cohort/about.json                    {"modality": "CT", "labels": {"liver": 1, "spleen": 2}}
    cohort/anna_2019/image.nii.gz        the part before the first _ is the patient
    cohort/anna_2019/mask.nii.gz         may be missing: a case without truth

    isocenter --plugin case_folders inspect cohort
    isocenter --plugin case_folders fit cohort --out model
"""

from __future__ import annotations

from pathlib import Path

from isocenter.data import CaseDataset, CaseProblem, register_layout
from isocenter.data.layouts.parts import LabelFile, schema_from_json
from isocenter.io.files import read_json
from isocenter.io.refs import nifti_ref
from isocenter.records import Case, LabelMap


@register_layout("case-folders")  # layouts from outside are asked before the built-in ones
class CaseFolders:
    """See `isocenter.data.Layout`."""

    @staticmethod
    def detect(path: Path) -> bool:
        """Whether a folder looks like this; cheap, and never an error for a foreign one."""
        return (path / "about.json").is_file() and any(path.glob("*/image.nii.gz"))

    @staticmethod
    def read(path: Path) -> CaseDataset:
        """Every case, without reading a voxel: `Dataset.read` then compares geometries and reads splits.json."""
        about = read_json(path / "about.json")
        schema = schema_from_json(about.get("labels"), str(path / "about.json"))
        cases, problems = [], []
        for folder in sorted(p for p in path.iterdir() if p.is_dir()):
            image, mask = folder / "image.nii.gz", folder / "mask.nii.gz"
            if not image.is_file():
                # what cannot be used is named, never dropped in silence
                problems.append(CaseProblem(folder.name, f"has no {image.name}"))
                continue
            labels = LabelMap(image="image", source=str(mask), schema=schema, read=LabelFile(mask))
            patient = folder.name.partition("_")[0]
            images = {"image": nifti_ref("image", image, about.get("modality"))}
            cases.append(Case(folder.name, patient, images, (labels,) if mask.is_file() else ()))
        return CaseDataset(path.resolve().name, tuple(cases), schema=schema, problems=tuple(problems))
