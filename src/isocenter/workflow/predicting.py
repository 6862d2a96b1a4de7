"""The verb `predict`: from a study to a result that can be saved in the formats people and programs read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import ConfigError
from isocenter.io.files import atomic_folder, write_json
from isocenter.records import Annotation, Boxes, Case, Finding, ImageRef, LabelMap, LabelSchema, Masks, Prediction
from isocenter.volume import Volume
from isocenter.workflow.studies import Study, find_study

if TYPE_CHECKING:
    from isocenter.tasks import Task
    from isocenter.workflow.model import TrainedModel

__all__ = ["FORMATS", "Result", "predict"]

Writer = Callable[["Result", Path], None]


@dataclass
class Result:
    """What a model says of one study.

    Attributes:
        prediction: Annotations on the study's own grids, with flags and provenance.
    """

    prediction: Prediction

    @property
    def case(self) -> Case:
        """The study."""
        return self.prediction.case

    @cached_property
    def images(self) -> Mapping[str, Volume]:
        """Images of the study that were read, by name."""
        return {name: ref.read() for name, ref in self.case.images.items()}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Structures, objects or classes with their measurements."""
        from isocenter.report import findings_of

        return findings_of(self.prediction, self.images)

    def save(self, folder: str | Path, formats: Sequence[str] = (), *, overwrite: bool = False) -> Path:
        """Write the result; the folder appears whole or not at all.

        Args:
            folder: New or empty, unless ``overwrite``.
            formats: Of ``"dicom-seg"`` (``segmentation.dcm``; studies read from DICOM), ``"nifti"``
                (``segmentation.nii.gz``), ``"json"`` (``findings.json``), ``"html"`` (``report.html``), ``"rtstruct"``
                (``structures.dcm``; studies read from DICOM), ``"dicom-labelmap"`` (``labelmap.dcm``, a label-map
                segmentation; likewise, where structures do not overlap). All that fit but the last two, where empty.
            overwrite: Replace a folder that is not empty.

        Raises:
            ConfigError: A format that does not exist, or that this result cannot be written in.
        """
        _refuse_unknown(formats)
        chosen = list(formats) or [f for f in FORMATS if f not in _ON_REQUEST and _fits(self, f)]
        unfit = [f for f in chosen if not _fits(self, f)]
        if unfit:
            without = " without overlap" if unfit[0] == "dicom-labelmap" else ""
            raise ConfigError(f"format {unfit[0]!r}: needs a segmentation{without} of a study that was read from DICOM")
        with atomic_folder(folder, overwrite=overwrite) as aside:
            for name in chosen:
                FORMATS[name](self, aside)
        return Path(folder)


def predict(
    model: TrainedModel | str | Path,
    study: Study,
    *,
    out: str | Path | None = None,
    formats: Sequence[str] = (),
    overwrite: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Predict one study.

    Args:
        model: Or its folder.
        study: See `isocenter.workflow.studies.find_study`: a DICOM folder, NIfTI files as ``name=path``, or
            ``<dataset>/<case>``.
        out: Folder to save the result in.
        formats: See `Result.save`.
        overwrite: See `Result.save`.
        device: Where the network runs.
        progress: Called with windows done and windows in all.

    Raises:
        ModelIntegrityError: The model is damaged.
        IsocenterError: The study cannot be used; the message names what is wrong.
    """
    from isocenter.inference import predict_case
    from isocenter.io.files import check_folder_target
    from isocenter.workflow.model import TrainedModel, load

    _refuse_unknown(formats)
    if out is not None:
        check_folder_target(out, overwrite=overwrite)
    chosen = model if isinstance(model, TrainedModel) else load(model)
    found = predict_case(chosen, find_study(study, chosen.plan), device=device, progress=progress)
    result = Result(_shown(found, chosen.pipeline.task))
    if out is not None:
        result.save(out, formats, overwrite=overwrite)
    return result


def _refuse_unknown(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"format {name!r} is not known; there are {', '.join(FORMATS)}")


def _shown(prediction: Prediction, task: Task) -> Prediction:
    """Without objects below the score that the task works at; evaluation takes them all, a person does not."""
    threshold = getattr(task, "threshold", None)
    if threshold is None:
        return prediction

    def kept(annotation: Annotation) -> Annotation:
        if not isinstance(annotation, Boxes) or annotation.scores is None:
            return annotation
        sure = annotation.scores >= threshold
        return replace(
            annotation,
            corners=annotation.corners[sure],
            classes=annotation.classes[sure],
            scores=annotation.scores[sure],
        )

    return replace(prediction, annotations=tuple(kept(a) for a in prediction.annotations))


def _labels(result: Result) -> LabelMap | Masks | None:
    return next((a for a in result.prediction.annotations if isinstance(a, LabelMap | Masks)), None)


def _reference(result: Result) -> ImageRef | None:
    labels = _labels(result)
    return result.case.images.get(labels.image or "") if labels is not None else None


def _fits(result: Result, name: str) -> bool:
    if name == "nifti":
        return _labels(result) is not None
    if name in ("dicom-seg", "dicom-labelmap", "rtstruct"):
        reference = _reference(result)
        exclusive = isinstance(_labels(result), LabelMap)
        return reference is not None and bool(reference.uids) and (exclusive or name != "dicom-labelmap")
    return True


def _write_seg(result: Result, folder: Path) -> None:
    from isocenter.io.dicom import write_seg

    _write_dicom(result, folder / "segmentation.dcm", write_seg)


def _write_labelmap(result: Result, folder: Path) -> None:
    from isocenter.io.dicom import write_seg

    _write_dicom(result, folder / "labelmap.dcm", partial(write_seg, kind="labelmap"))


def _write_rtstruct(result: Result, folder: Path) -> None:
    from isocenter.io.dicom.rtstruct import write_rtstruct

    _write_dicom(result, folder / "structures.dcm", write_rtstruct)


def _write_dicom(result: Result, path: Path, write: Callable[..., None]) -> None:
    from isocenter.io.refs import stack_of

    labels, reference = _labels(result), _reference(result)
    provenance = result.prediction.provenance
    if labels is None or reference is None:
        return
    write(
        path,
        labels.read(),
        labels.schema,
        stack_of(reference) or reference.files,
        algorithm_name=provenance.model if provenance else "isocenter",
        algorithm_version=provenance.version if provenance else "",
    )


def _write_nifti(result: Result, folder: Path) -> None:
    from isocenter.io.nifti import write_nifti

    labels = _labels(result)
    if labels is None:
        return
    volume = labels.read()
    if isinstance(labels, LabelMap):
        write_nifti(folder / "segmentation.nii.gz", volume)
        write_json(folder / "segmentation.labels.json", {"labels": _names(labels.schema)})
        return
    for name, mask in zip(labels.schema.names, volume.array, strict=True):
        write_nifti(folder / f"segmentation_{name}.nii.gz", Volume(mask[None].astype(np.uint8), volume.grid, "label"))


def _names(schema: LabelSchema) -> dict[str, int]:
    return {"background": 0, **{s.name: s.values[0] for s in schema.structures}}


def _write_json(result: Result, folder: Path) -> None:
    from isocenter.report import findings_json

    write_json(folder / "findings.json", findings_json(result.prediction, result.findings))


def _write_html(result: Result, folder: Path) -> None:
    from isocenter.report import write_report

    write_report(folder / "report.html", result.prediction, result.images, result.findings)


FORMATS: dict[str, Writer] = {
    "dicom-seg": _write_seg,
    "nifti": _write_nifti,
    "json": _write_json,
    "html": _write_html,
    "rtstruct": _write_rtstruct,
    "dicom-labelmap": _write_labelmap,
}
"""By name: what writes a result into a folder."""

_ON_REQUEST = {"rtstruct", "dicom-labelmap"}
"""Those that say again what another one says."""
