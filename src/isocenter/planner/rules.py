"""From a fingerprint to a plan, by rules that state their reasons.

In the spirit of nnU-Net (Isensee et al. 2021): the data decides, and a person can read and change every decision.
Differences: budgets are those of a processor without accelerator, the working grid may be coarser than the images
where no structure needs them finer, and the stem moves 2x2(x2) voxels into channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import PlanError
from isocenter.plan import (
    AugmentationSpec,
    InferenceSpec,
    InputSpec,
    IntensitySpec,
    NetworkSpec,
    Plan,
    PreprocessSpec,
    TaskSpec,
    TrainingSpec,
    ViewSpec,
)
from isocenter.planner.families import choose_network, fitted_at_once, network_options, sees_stacks, stack_of
from isocenter.planner.fingerprint import Fingerprint
from isocenter.planner.geometry import (
    Sizes,
    choose_dimensions,
    choose_orientation,
    choose_patch,
    choose_spacing,
    choose_topology,
    voxel_cost,
)
from isocenter.tasks import build_task

__all__ = ["plan_by_rules"]

ABSOLUTE = ("CT",)
"""Modalities whose values mean the same on every scanner."""
ONE_PIECE = 0.95
"""Share of a structure's voxels in its largest piece from which on, in every case, it counts as one piece."""
FEWEST_CASES = 5
"""Fewer cases say nothing of how a structure may be scattered."""


def plan_by_rules(
    found: Fingerprint,
    *,
    task: TaskSpec,
    inputs: Sequence[InputSpec],
    reference: str,
    name: str = "model",
    network: str | None = None,
    dimensions: Literal[2, 3] | None = None,
) -> Plan:
    """Plan for a dataset.

    Args:
        found: Of the training part.
        task: What is learned.
        inputs: Images that the network reads.
        reference: The one whose grid the result is given on.
        name: Of the model to be.
        network: Family, by registered name; chosen by the task where ``None``.
        dimensions: Of its convolutions; chosen by the images where ``None``.

    Raises:
        PlanError: No such task or network, or a specification that it cannot work with.

    Example:
        >>> from isocenter.plan import StructureSpec
        >>> from isocenter.planner import CaseFingerprint
        >>> from isocenter.volume import Grid
        >>> heart = CaseFingerprint(Grid.regular((9, 240, 200), spacing_mm=(10, 1.5, 1.5)), {"mr": np.ones(9)})
        >>> task = TaskSpec(structures=(StructureSpec(name="heart", values=(1,)),))
        >>> inputs = [InputSpec(name="mr", modality="MR")]
        >>> plan = plan_by_rules(Fingerprint({"a": heart}), task=task, inputs=inputs, reference="mr")
        >>> plan.network.dimensions, plan.reasons["network.dimensions"]
        (2, 'slices are 6.7 times as thick as pixels and only 9: neighbours tell little')
    """
    reasons: dict[str, str] = {}
    orientation, reasons["preprocess.orientation"] = choose_orientation(found)
    spacing, size_mm, extents = _in_order(found, orientation)
    family, reasons["network.name"] = choose_network(network, task)
    stacks = sees_stacks(family) and dimensions != 2 and size_mm[0] / spacing[0] >= 2
    asked = dimensions
    dimensions, reasons["network.dimensions"] = _dimensions(asked, family, stacks, spacing, size_mm, task)
    flat = dimensions == 2 or stacks
    working, reasons["preprocess.spacing_mm"] = choose_spacing(found, spacing, size_mm, 2 if flat else 3)
    actual = np.where(np.asarray(working) == 0, spacing, working)
    shape = np.maximum(1, np.round(size_mm / actual)).astype(np.int64)
    heads = build_task(task, reference).heads().values()
    whole = all(head.kind == "global" for head in heads)
    if whole:
        actual, working, shape = _coarse_enough(actual, working, size_mm, dimensions, reasons)
        patch, dimensions = _whole_case(shape, dimensions, asked)
        reasons["training.patch"] = "the whole median case: the answer belongs to all of it"
    else:
        patch = _patch(extents, actual, shape, flat, stacks, reasons)
    optional = any(not i.required for i in inputs)
    training = _training(task, 2 if flat else 3, patch, optional, 1 if flat else voxel_cost(actual), reasons)
    training = fitted_at_once(family, training, reasons)
    reach = max((head.stride for head in heads if head.kind == "strided"), default=1)
    topology = choose_topology(np.asarray(patch), actual, 2 if flat else 3, reach=reach)
    norm, why = _normalisation(task, training.batch * (patch[0] if stacks else 1))
    options = _plain(network_options(family, topology, norm))
    if options:
        reasons["network.options"] = f"axes are halved while they are fine and long enough; {why}"
    intensity = _intensity(found, inputs, reasons)
    reasons["inference.window"] = "the training patch" + (", each case as a whole" if whole else ", half overlapping")
    return Plan(
        name=name,
        inputs=tuple(inputs),
        preprocess=PreprocessSpec(
            reference=reference, orientation=orientation, spacing_mm=working, intensity=dict(intensity)
        ),
        network=NetworkSpec(name=family, dimensions=dimensions, options=options),
        task=task,
        training=training,
        inference=InferenceSpec(
            window=patch,
            overlap=0.0 if whole else 0.5,
            batch=8 if dimensions == 2 else 1,
            views=_views(task, dimensions, training.augmentation, reasons),
            largest_component=_in_one_piece(found, task, reasons),
        ),
        reasons=reasons,
    )


def _dimensions(
    asked: Literal[2, 3] | None, family: str, stacks: bool, spacing: NDArray[np.float64],
    size_mm: NDArray[np.float64], task: TaskSpec,
) -> tuple[Literal[2, 3], str]:  # fmt: skip
    if asked is not None:
        return asked, "asked for"
    if stacks:
        return 3, "slices are computed apart and speak to each other"
    if family == "hybrid" and size_mm[0] / spacing[0] >= 2:
        return 3, "made for volumes"
    return choose_dimensions(spacing, size_mm, objects=task.name == "detection")


def _patch(
    found: Fingerprint, spacing: NDArray[np.float64], shape: NDArray[np.int64], flat: bool, stacks: bool,
    reasons: dict[str, str],
) -> Sizes:  # fmt: skip
    patch, reasons["training.patch"] = choose_patch(found, spacing, shape, 2 if flat else 3)
    if stacks:
        patch, more = stack_of(patch, int(shape[0]))
        reasons["training.patch"] += f"; {more}"
    return patch


def _whole_case(
    shape: NDArray[np.int64], dimensions: Literal[2, 3], asked: Literal[2, 3] | None
) -> tuple[Sizes, Literal[2, 3]]:
    """A patch that holds a case, and the dimensions that it needs."""
    z, y, x = (int(np.ceil(n / 8) * 8) if n >= 8 else int(n) for n in shape)
    if z > 1 and asked == 2:
        raise PlanError(
            f"network.dimensions: 2 is asked for, but an answer belongs to a whole case, which has {shape[0]} slices;"
            " take 3"
        )
    return (z, y, x), 3 if z > 1 else dimensions


def _normalisation(task: TaskSpec, batch: int) -> tuple[str, str]:
    if batch >= 8:
        return "batch", "batch normalisation, since a step has many patches"
    if task.name == "detection":
        return "batch", "batch normalisation, since one patch's own statistics depend on whether it holds an object"
    return "instance", "instance normalisation, since a step has few patches"


def _in_order(
    found: Fingerprint, orientation: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], Fingerprint]:
    """Median spacing and size in the order of working axes, and the fingerprint with its boxes in that order."""
    if orientation is None:
        return found.median_spacing_mm(), found.median_size_mm(), found
    from dataclasses import replace

    cases = {}
    for key, case in found.cases.items():
        order, _ = case.grid.axes_to(orientation)
        box = case.extent_mm
        turned = (box[order[0]], box[order[1]], box[order[2]]) if box else None
        cases[key] = replace(case, grid=case.grid.reorient(orientation), extent_mm=turned)
    turned_found = replace(found, cases=cases)
    return turned_found.median_spacing_mm(), turned_found.median_size_mm(), turned_found


def _coarse_enough(
    actual: NDArray[np.float64], working: tuple[float, ...], size_mm: NDArray[np.float64], dimensions: int,
    reasons: dict[str, str],
) -> tuple[NDArray[np.float64], tuple[float, float, float], NDArray[np.int64]]:  # fmt: skip
    """A class needs the whole case at once: coarsen until it fits a patch."""
    from isocenter.planner.geometry import PATCH_VOXELS

    spacing = actual.copy()
    first = 1 if dimensions == 2 and working[0] == 0 else 0
    while np.prod(size_mm / spacing) > PATCH_VOXELS / 2:
        spacing[first:] = np.where(
            spacing[first:] <= spacing[first:].min() * 1.01, spacing[first:] * 1.05, spacing[first:]
        )
    if not np.allclose(spacing, actual):
        reasons["preprocess.spacing_mm"] = "coarse enough for the whole case to be one patch"
    a, b, c = (
        0.0 if w == 0 and k < first else round(float(s), 3)
        for k, (w, s) in enumerate(zip(working, spacing, strict=True))
    )
    return spacing, (a, b, c), np.maximum(1, np.round(size_mm / spacing)).astype(np.int64)


def _training(
    task: TaskSpec, dimensions: int, patch: Sequence[int], optional: bool, cost: int, reasons: dict[str, str]
) -> TrainingSpec:
    flat = dimensions == 2
    voxels = int(np.prod(patch))
    batch = max(2, min(16, 2**19 // voxels if flat else 2**21 // (voxels * cost)))
    reasons["training.batch"] = f"patches of {voxels} voxels within the memory and time of a step"
    reasons["training.steps"] = "a first guess; more steps seldom harm"
    reasons["training.augmentation"] = (
        "rotation and scale as patients differ, values as scanners differ; no mirroring, since bodies are not symmetric"
    )
    turn = (25.0, 0.0, 0.0) if flat else (10.0, 10.0, 10.0)
    augmentation = AugmentationSpec(
        rotation_deg=turn, scale=0.2 if flat else 0.15, brightness=0.2, contrast=0.25, gamma=0.3, noise=0.15, blur=1.0,
        low_resolution=2.0, drop_image=0.2 if optional else 0.0,
    )  # fmt: skip
    steps = {"segmentation": 2000 if flat else 1000, "detection": 1500, "classification": 600}.get(task.name, 1000)
    return TrainingSpec(
        steps=steps,
        batch=batch,
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        foreground=0.75 if flat else 0.6,
        augmentation=augmentation,
    )


def _intensity(found: Fingerprint, inputs: Sequence[InputSpec], reasons: dict[str, str]) -> Mapping[str, IntensitySpec]:
    out = {}
    for spec in inputs:
        key = f"preprocess.intensity.{spec.name}"
        if spec.modality not in ABSOLUTE:
            out[spec.name] = IntensitySpec(scheme="image")
            reasons[key] = f"values of {spec.modality} are arbitrary: each image by its own mean and deviation"
            continue
        values = found.values(spec.name)
        low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
        inside = np.clip(values, low, high)
        out[spec.name] = IntensitySpec(
            scheme="fixed", lower=round(low, 2), upper=round(high, 2),
            mean=round(float(inside.mean()), 2), std=round(max(float(inside.std()), 1e-3), 2),
        )  # fmt: skip
        reasons[key] = f"{spec.modality} values are absolute: 0.5 to 99.5 percentile of annotated voxels of all cases"
    return out


def _views(
    task: TaskSpec, dimensions: int, augmentation: AugmentationSpec, reasons: dict[str, str]
) -> tuple[ViewSpec, ...]:
    """Turned and scaled looks, well inside of what training showed; slices are cheap enough to look five times."""
    if task.name != "segmentation" or dimensions != 2:
        return ()
    turn, scale = 0.6 * augmentation.rotation_deg[0], 0.5 * augmentation.scale
    reasons["inference.views"] = "slices are predicted fast enough for four more looks, as training turned and scaled"
    return (
        ViewSpec(rotation_deg=turn), ViewSpec(rotation_deg=-turn), ViewSpec(scale=1 - scale), ViewSpec(scale=1 + scale),
    )  # fmt: skip


def _in_one_piece(found: Fingerprint, task: TaskSpec, reasons: dict[str, str]) -> tuple[str, ...]:
    """Structures of which a second piece would be a mistake."""
    if task.name != "segmentation" or len(found.cases) < FEWEST_CASES:
        return ()
    shares = found.main_piece()
    whole = tuple(s.name for s in task.structures if shares.get(s.name, 0.0) >= ONE_PIECE)
    if whole:
        least = min(shares[name] for name in whole)
        reasons["inference.largest_component"] = (
            f"in every case at least {100 * least:.0f} % of each lies in one piece; validation may overrule this"
        )
    return whole


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as YAML gives them back."""

    def plain(value: Any) -> Any:
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return {k: plain(v) for k, v in options.items()}
