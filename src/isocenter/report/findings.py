"""From a prediction to findings: what was found, how large, how sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isocenter.postprocess import component_sizes
from isocenter.records import Boxes, ClassLabel, Finding, Flag, Measurement, Points, Scalar
from isocenter.report.parts import Layer, Part, layers_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from isocenter.records import Prediction
    from isocenter.volume import Grid, Volume

__all__ = ["findings_of", "flags_of"]

_LPS = "xyz"


def findings_of(prediction: Prediction, images: Mapping[str, Volume] | None = None) -> tuple[Finding, ...]:
    """What a prediction says, as findings with measurements.

    - **Segmentation**: every structure of the schema, in its order: ``volume`` (mL); where it has several connected
      parts, their number and the volume of the largest; where an image in HU (or SUV) lies on the same grid, its mean
      (and maximum) under the structure. A structure without a voxel is a finding of 0 mL.
    - **Detection**: every box, most probable first: ``center_x/y/z`` (LPS mm), ``size_x/y/z`` (mm along the patient's
      axes, of the index axis nearest to each), and its probability.
    - **Classification**: every class that holds, with its probability.
    - Points and scalars: their position or value.

    Args:
        prediction: Annotations on the case's own grids.
        images: Images by name, as the annotations refer to them; needed for densities only.

    Returns:
        In the order of the annotations. The centre of a box is among its measurements; ``evidence`` holds the image's
        name and the slice (from 0, in the image's own order) that shows most of the finding.

    Raises:
        LabelError: The number of masks is not the number of structures in their schema.
        IsocenterError: A label map could not be read.

    Example:
        >>> from isocenter.records import Case, ClassLabel, Prediction
        >>> label = ClassLabel(name="grade", classes=("low", "high"), values=("high",), probabilities=(0.2, 0.8))
        >>> [(f.name, f.probability) for f in findings_of(Prediction(Case("a", "p", {}), (label,)))]
        [('high', 0.8)]
    """
    found: list[Finding] = []
    layers = {id(layer.annotation): layer for layer in layers_of(prediction)}
    for annotation in prediction.annotations:
        if id(annotation) in layers:
            found += _structures(layers[id(annotation)], images or {})
        elif isinstance(annotation, Boxes):
            found += _boxes(annotation, _grid_of(annotation.image, prediction, images or {}))
        elif isinstance(annotation, ClassLabel):
            found += _classes(annotation)
        elif isinstance(annotation, Points):
            found += _points(annotation)
        elif isinstance(annotation, Scalar):
            value = Measurement(annotation.name, annotation.value, annotation.unit, annotation.interval)
            found.append(Finding(annotation.name, measurements=(value,), evidence=_evidence(annotation.image)))
    return tuple(found)


def flags_of(prediction: Prediction, findings: Sequence[Finding]) -> tuple[Flag, ...]:
    """Flags of a prediction, and ``structure-empty`` for each empty structure that they do not name yet."""
    flags = list(prediction.flags)
    for finding in findings:
        empty = any(m.name == "volume" and m.value == 0 for m in finding.measurements)
        said = any(f.code == "structure-empty" and finding.name in f.text for f in flags)
        if empty and not said:
            flags.append(Flag("structure-empty", f"{finding.name}: the model marked no voxel."))
    return tuple(flags)


def _structures(layer: Layer, images: Mapping[str, Volume]) -> Iterator[Finding]:
    image = _image_on(layer, images)
    for part in parts_of(layer):
        measurements = [Measurement("volume", _volume(part, part.mask), "mL")]
        evidence = _evidence(layer.annotation.image)
        if part.mask is not None:
            measurements += _components(part) + _intensities(part, image)
            evidence = _evidence(layer.annotation.image, part.start[0] + _fullest(part.mask))
        yield Finding(part.structure.name, part.structure.code, measurements=tuple(measurements), evidence=evidence)


def _volume(part: Part, mask: NDArray[np.bool_] | None) -> float:
    return 0.0 if mask is None else int(np.count_nonzero(mask)) * part.grid.voxel_volume_ml


def _components(part: Part) -> list[Measurement]:
    sizes = component_sizes(part.mask) if part.mask is not None else []
    if len(sizes) < 2:
        return []
    largest = sizes[0] * part.grid.voxel_volume_ml
    return [Measurement("components", len(sizes), "1"), Measurement("largest_component_volume", largest, "mL")]


def _intensities(part: Part, image: Volume | None) -> list[Measurement]:
    if image is None or part.mask is None or image.unit not in ("HU", "SUVbw"):
        return []
    values = image.array[0][part.box][part.mask].astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    if image.unit == "HU":
        return [Measurement("mean_attenuation", float(values.mean()), "[hnsf'U]")]
    unit = "g/ml{SUVbw}"
    return [Measurement("suv_mean", float(values.mean()), unit), Measurement("suv_max", float(values.max()), unit)]


def _image_on(layer: Layer, images: Mapping[str, Volume]) -> Volume | None:
    """The image the labels were drawn on, where it is at hand and on the same grid."""
    name = layer.annotation.image
    candidates = [image for key, image in images.items() if name in (None, key)]
    return next((image for image in candidates if image.grid.is_close(layer.volume.grid)), None)


def _fullest(mask: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.count_nonzero(mask, axis=(1, 2))))


def _evidence(image: str | None, at: int | None = None) -> tuple[str, ...]:
    return (() if image is None else (image,)) + (() if at is None else (f"slice {at}",))


def _grid_of(image: str | None, prediction: Prediction, images: Mapping[str, Volume]) -> Grid | None:
    refs = prediction.case.images
    for name in [image] if image is not None else [*images, *refs]:
        if name in images:
            return images[name].grid
        if name in refs:
            return refs[name].grid()
    return None


def _boxes(boxes: Boxes, grid: Grid | None) -> Iterator[Finding]:
    scores = boxes.scores if boxes.scores is not None else np.full(len(boxes.corners), np.nan)
    for i in np.argsort(-np.nan_to_num(scores), kind="stable"):
        structure = boxes.schema.structures[int(boxes.classes[i])]
        low, high = boxes.corners[i][:3], boxes.corners[i][3:]
        yield Finding(
            structure.name,
            structure.code,
            measurements=_box_measurements(low, high, grid),
            probability=None if np.isnan(scores[i]) else float(scores[i]),
            evidence=_evidence(boxes.image, round(float(low[0] + high[0]) / 2)),
        )


def _box_measurements(
    low: NDArray[np.float64], high: NDArray[np.float64], grid: Grid | None
) -> tuple[Measurement, ...]:
    if grid is None:
        return ()
    center = grid.to_world((low + high) / 2)
    extents = (high - low) * np.asarray(grid.spacing_mm)
    axis_of = dict(zip("RLAPIS", "xxyyzz", strict=True))
    sizes = {axis_of[letter]: float(e) for letter, e in zip(grid.orientation, extents, strict=True)}
    centers = [Measurement(f"center_{axis}", float(v), "mm") for axis, v in zip(_LPS, center, strict=True)]
    return (*centers, *(Measurement(f"size_{axis}", sizes[axis], "mm") for axis in _LPS))


def _classes(label: ClassLabel) -> Iterator[Finding]:
    for value in label.values:
        known = label.probabilities is not None and value in label.classes
        probability = label.probabilities[label.classes.index(value)] if known and label.probabilities else None
        yield Finding(value, probability=probability, evidence=_evidence(label.image))


def _points(points: Points) -> Iterator[Finding]:
    for position, number in zip(points.positions_mm, points.classes, strict=True):
        structure = points.schema.structures[int(number)]
        places = tuple(Measurement(f"center_{a}", float(v), "mm") for a, v in zip(_LPS, position, strict=True))
        yield Finding(structure.name, structure.code, measurements=places, evidence=_evidence(points.image))
