"""Cases made in memory: bright blobs in smooth noise, with every kind of truth; and a fit of a small plan on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from isocenter.inference import Engine
from isocenter.pipeline import Pipeline
from isocenter.plan import Plan
from isocenter.records import Annotation, Case, ClassLabel, ImageRef, LabelMap, LabelSchema, Prediction, Region
from isocenter.training import train
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"blob": 1})


def image_ref(volume: Volume, name: str = "ct") -> ImageRef:
    def read(region: Region | None, level: int) -> Volume:
        return volume if region is None else volume.crop(*region)

    return ImageRef(name, "memory", read, lambda: volume.grid, modality="CT")


def make_case(name: str, volume: Volume, *annotations: Annotation, image: str = "ct") -> Case:
    return Case(name, f"patient-{name}", {image: image_ref(volume, image)}, tuple(annotations))


def label_map(array: NDArray[Any], grid: Grid, schema: LabelSchema = SCHEMA, **named: Any) -> LabelMap:
    volume = Volume(array, grid, "label")
    return LabelMap(schema=schema, read=lambda: volume, **{"image": "ct", **named})


def blob_case(
    name: str, rng: np.random.Generator, *, shape: tuple[int, int, int], blobs: int, radius: tuple[float, float]
) -> Case:
    """Ellipsoids that do not touch, 3 deviations brighter than the noise; label map and the class ``present``."""
    labels = np.zeros(shape, np.uint8)
    for _ in range(200):
        if ndimage.label(labels)[1] == blobs:
            break
        radii = np.minimum(rng.uniform(*radius, 3), np.maximum(np.array(shape) / 2, 0.5))
        half = (np.array(shape) - 1) / 2
        middle = rng.uniform(np.minimum(radii, half), np.maximum(2 * half - radii, half))
        places = np.meshgrid(*[np.arange(n) - m for n, m in zip(shape, middle, strict=True)], indexing="ij")
        blob = sum((p / r) ** 2 for p, r in zip(places, radii, strict=True)) <= 1
        if blob.any() and not (ndimage.binary_dilation(blob, np.ones((3, 3, 3)), 2) & (labels > 0)).any():
            labels[blob] = 1
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (0.7 if shape[0] > 1 else 0, 0.7, 0.7))
    image = noise / noise.std() + 3.0 * labels
    grid = Grid.regular(shape, spacing_mm=(1, 1, 1))
    answer = ClassLabel(name="blob", classes=("absent", "present"), values=("present" if blobs else "absent",))
    return make_case(name, Volume(image.astype(np.float32), grid), label_map(labels, grid), answer)


def blob_cases(number: int, *, seed: int, blobs: Sequence[int], **settings: Any) -> list[Case]:
    """``number`` cases with ``blobs`` taken in turn."""
    rng = np.random.default_rng(seed)
    return [blob_case(f"{seed}-{k}", rng, blobs=blobs[k % len(blobs)], **settings) for k in range(number)]


def small_plan(task: Mapping[str, Any], network: Mapping[str, Any], training: Mapping[str, Any], **parts: Any) -> Plan:
    """A plan for one image ``ct`` whose values are used as they are."""
    settings = {"validations": 0, "workers": 0, "threads": 1, "precision": "fp32", "ema": 0.98, **training}
    return Plan.model_validate(
        {
            "inputs": [{"name": "ct", "modality": "CT"}],
            "preprocess": {"reference": "ct", "intensity": {"ct": {"scheme": "none"}}},
            "task": dict(task),
            "network": dict(network),
            "training": settings,
            "inference": {"window": settings["patch"], "precision": "fp32"},
            **parts,
        }
    )


def fit_and_predict(plan: Plan, training: Sequence[Case], unseen: Sequence[Case], folder: Path) -> list[Prediction]:
    """Predictions of ``unseen`` by a network fitted on ``training``."""
    pipeline = Pipeline(plan)
    samples = [pipeline.prepare(case, targets=True) for case in training]
    run = train(plan, pipeline.task, {"train": samples}, folder=folder, device="cpu")
    engine = Engine(pipeline, run.network)
    return [engine.predict(pipeline.prepare(case)) for case in unseen]
