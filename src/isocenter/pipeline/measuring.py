"""From the masks and attributes of a case to the numbers that a plan asks for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError, LabelError
from isocenter.plan import FeatureSpec, MeasuredSpec, QuantitySpec
from isocenter.radiomics import measure_property
from isocenter.records import Case, LabelMap, Masks
from isocenter.volume import Grid, Volume

__all__ = ["MEASURED", "measure_case", "standardise"]

MEASURED = "measured"
"""Name of the vector among the inputs of a plan."""
Masked = tuple[NDArray[np.bool_], Grid, Callable[[], NDArray[np.floating]]]


def measure_case(case: Case, spec: MeasuredSpec, reference: str) -> NDArray[np.float64]:
    """Features of a case as they are measured, ``(feature,)``; NaN for what cannot be: an absent structure's mean, say.

    Args:
        case: With the annotations that the features name.
        spec: Of the plan.
        reference: Image on which masks lie where a quantity names none.

    Raises:
        LabelError: There is no annotation to measure, or it lacks a structure.
        GeometryError: It does not lie on its image.
    """
    measured = _Measured(case, spec.annotation, reference)
    return np.array([_feature(measured, feature) for feature in spec.features])


def standardise(values: NDArray[np.float64], spec: MeasuredSpec) -> NDArray[np.float32]:
    """As a network reads them: less the mean, over the deviation; 0 for what could not be measured."""
    mean, std = (np.array([getattr(f, key) for f in spec.features]) for key in ("mean", "std"))
    found: NDArray[np.float32] = np.nan_to_num((values - mean) / std, nan=0.0, posinf=0.0, neginf=0.0).astype(
        np.float32
    )
    return found


def _feature(measured: _Measured, feature: FeatureSpec) -> float:
    value = measured.quantity(feature.of)
    if feature.less is not None:
        value -= measured.quantity(feature.less)
    if feature.over is None:
        return value
    whole = measured.quantity(feature.over)
    return value / whole if whole else math.nan


class _Measured:
    """Quantities of one case, each computed once."""

    def __init__(self, case: Case, annotation: str, reference: str) -> None:
        self.case, self.annotation, self.reference = case, annotation, reference
        self._volumes: dict[str, Volume] = {}
        self._found: dict[QuantitySpec, float] = {}

    def quantity(self, spec: QuantitySpec) -> float:
        if spec not in self._found:
            self._found[spec] = self._attribute(spec) if spec.attribute is not None else self._property(spec)
        return self._found[spec]

    def _attribute(self, spec: QuantitySpec) -> float:
        text = self.case.attributes.get(str(spec.attribute), "").strip()
        if spec.equals is not None:
            return float(text == spec.equals) if text else math.nan
        try:
            return float(text) if text else math.nan
        except ValueError:
            raise LabelError(
                f"case {self.case.id}: attribute {spec.attribute!r} is no number; name its values with `equals`"
            ) from None

    def _property(self, spec: QuantitySpec) -> float:
        mask, grid, image = self._mask(str(spec.structure), spec.image or self.reference)
        return measure_property(str(spec.property), mask, grid, image)

    def _mask(self, structure: str, image: str) -> Masked:
        of = (image, None) if image == self.reference else (image,)
        drawn = (a for a in self.case.annotations if isinstance(a, LabelMap | Masks) and a.name == self.annotation)
        found = next((a for a in drawn if a.image in of), None)
        if found is None:
            raise LabelError(
                f"case {self.case.id}: has no masks {self.annotation!r} on image {image!r}, which are to be measured"
            )
        if structure not in found.schema.names:
            known = ", ".join(found.schema.names)
            raise LabelError(f"case {self.case.id}: masks on {image!r} have no {structure!r} (they have {known})")
        volume = self._volume(image, found)
        k = found.schema.names.index(structure)
        if isinstance(found, LabelMap):
            mask = np.isin(volume.array[0], found.schema.structures[k].values)
        else:
            mask = volume.array[k] > 0
        ref = self.case.images.get(image)
        if ref is not None and ref.grid().difference(volume.grid, tolerance_mm=0.1):
            gap = ref.grid().difference(volume.grid, tolerance_mm=0.1)
            raise GeometryError(f"case {self.case.id}: masks {self.annotation!r} do not lie on image {image!r}: {gap}")
        return mask, volume.grid, lambda: self.case.image(image).read().array[0]

    def _volume(self, image: str, found: LabelMap | Masks) -> Volume:
        if image not in self._volumes:
            self._volumes[image] = found.read()
        return self._volumes[image]
