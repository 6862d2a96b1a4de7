"""What the rules say of a family of networks: which slices it sees at once, which options it takes from a topology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isocenter.networks import networks
from isocenter.plan import AugmentationSpec, TaskSpec, TrainingSpec
from isocenter.planner.geometry import Topology

__all__ = ["STACK_VOXELS", "choose_network", "network_options", "sees_stacks", "stack_of"]

STAGED = (
    "attention-unet", "densenet", "hybrid", "light", "pseudo3d", "residual-unet", "resnet", "se-resnet", "segresnet",
    "unet", "vnet",
)  # fmt: skip
"""Families whose options are those of `isocenter.networks.StageOptions`."""
STACK_VOXELS = 2**18
"""Of a stack of slices that a slice-wise network sees at once."""
FEWEST_SLICES = 3


def choose_network(name: str | None, task: TaskSpec) -> tuple[str, str]:
    """The family, and why.

    Raises:
        PlanError: None of that name is registered.
    """
    if name is not None:
        _ = networks[name]
        return name, "asked for"
    if task.name == "classification":
        return "resnet", "an answer about the whole case needs an encoder alone"
    return "unet", "the family that the rules were made for"


def sees_stacks(name: str) -> bool:
    """Whether slices are computed apart and then speak to each other, so that spacing across them need not be even."""
    return name == "pseudo3d"


def stack_of(patch: tuple[int, int, int], slices: int) -> tuple[tuple[int, int, int], str]:
    """A patch of several slices, for a network that sees stacks.

    Args:
        patch: Of one slice.
        slices: Of the median case.

    Example:
        >>> stack_of((1, 160, 160), 12)
        ((10, 160, 160), '10 of 12 slices, within 0.3 million voxels')
    """
    most = max(FEWEST_SLICES, STACK_VOXELS // (patch[1] * patch[2]))
    height = min(slices, most)
    return (height, *patch[1:]), f"{height} of {slices} slices, within {STACK_VOXELS / 1e6:.1f} million voxels"


def fitted_at_once(name: str, training: TrainingSpec, reasons: dict[str, str]) -> TrainingSpec:
    """Training of a model that is not learned step by step."""
    if name != "measured":
        return training
    reasons["training.strategy"] = "numbers of all cases are fitted at once"
    reasons["training.steps"] = "the fit is one step"
    for key in ("training.augmentation", "training.batch"):
        reasons.pop(key, None)
    return training.model_copy(
        update={"strategy": "scikit-learn", "steps": 1, "batch": 1, "augmentation": AugmentationSpec(), "ema": 0.0}
    )


def network_options(name: str, topology: Topology, norm: str) -> Mapping[str, Any]:
    """Options for a topology; a family that is not ours, or knows no stages, keeps its own defaults."""
    if name not in STAGED:
        return {}
    channels = tuple(max(8, c // 2) for c in topology.channels) if name == "light" else topology.channels
    found = {"stem": topology.stem, "strides": topology.strides, "channels": channels, "norm": norm}
    # in the plane alone there is nothing to choose
    return found | ({"kernels": topology.kernels} if any(kernel[0] > 1 for kernel in topology.kernels) else {})
