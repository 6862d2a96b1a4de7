"""Which numbers of a case are measured, where nobody names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isocenter.plan import FeatureSpec, QuantitySpec

__all__ = ["choose_features", "with_constants"]


@dataclass(frozen=True)
class _Volume:
    structure: str
    image: str

    @property
    def spec(self) -> QuantitySpec:
        return QuantitySpec(property="volume_ml", structure=self.structure, image=self.image)


def choose_features(structures: Sequence[str], images: Sequence[str]) -> tuple[FeatureSpec, ...]:
    """Volumes of every structure, their ratios within an image, and how they change from the first image to others.

    Args:
        structures: That every mask has.
        images: On which masks lie, the reference first: phases, time points, modalities.

    Example:
        >>> [f.name for f in choose_features(["lv", "myo"], ["ed", "es"])]
        ['lv volume, ed', 'lv volume, es', 'lv change, ed to es', 'myo volume, ed', 'myo volume, es',
         'myo change, ed to es', 'lv / myo, ed', 'lv / myo, es']
    """
    found = []
    for name in structures:
        volumes = {image: _Volume(name, image).spec for image in images}
        found += [FeatureSpec(name=f"{name} volume, {image}", of=volume) for image, volume in volumes.items()]
        first = images[0]
        found += [
            FeatureSpec(
                name=f"{name} change, {first} to {image}", of=volumes[first], less=volumes[image], over=volumes[first]
            )
            for image in images[1:]
        ]  # fmt: skip
    for k, one in enumerate(structures):
        for other in structures[k + 1 :]:
            found += [
                FeatureSpec(name=f"{one} / {other}, {i}", of=_Volume(one, i).spec, over=_Volume(other, i).spec)
                for i in images
            ]
    return tuple(found)


def with_constants(
    features: Sequence[FeatureSpec], values: NDArray[np.float64]
) -> tuple[tuple[FeatureSpec, ...], tuple[str, ...]]:
    """Features with mean and deviation over training cases, and the names of those that tell nothing.

    Args:
        features: As chosen.
        values: ``(case, feature)``; NaN where one could not be measured.
    """
    kept, idle = [], []
    for feature, column in zip(features, values.T, strict=True):
        known = column[np.isfinite(column)]
        std = float(known.std()) if len(known) > 1 else 0.0
        if std <= 1e-9 * max(1.0, float(np.abs(known).max()) if len(known) else 0.0):
            idle.append(feature.name)
            continue
        kept.append(feature.model_copy(update={"mean": float(known.mean()), "std": std}))
    return tuple(kept), tuple(idle)
