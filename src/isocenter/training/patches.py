"""Class-aware patches with keyed randomness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isocenter.augment import SpatialMap, apply_intensity, draw_intensity, draw_map
from isocenter.tasks import Targets, Task
from isocenter.training.contract import Batch, SampleSource

if TYPE_CHECKING:
    from isocenter.pipeline import Sample
    from isocenter.plan import Plan

__all__ = ["PatchStream", "keyed_generator"]


def keyed_generator(seed: int, stream: int, step: int, index: int) -> np.random.Generator:
    """Generator of one patch: a counter-based hash of where it stands, not of what was drawn before.

    Salmon et al. 2011 (Philox).

    Example:
        >>> bool(keyed_generator(0, 0, 7, 3).random() == keyed_generator(0, 0, 7, 3).random())
        True
    """
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, step, index]))


class PatchStream:
    """Labelled patches.

    A case is drawn, then with probability ``training.foreground`` one of its structures and a voxel of it, else any
    voxel; the patch lies around it, inside the image where that is large enough.

    Args:
        plan: Patch, batch, augmentation, seed.
        task: Moves and collates targets.
        samples: Prepared with targets.
        number: Of the stream, so that two streams of a strategy differ.
        augment: Change the patches at random, and leave out images that the plan does not require.
    """

    def __init__(self, plan: Plan, task: Task, samples: SampleSource, *, number: int = 0, augment: bool = True) -> None:
        self.spec = plan.training
        self.task = task
        self.samples = samples
        self.number = number
        self.augment = augment
        self._optional = [image.name for image in plan.inputs if not image.required]
        self._vectors = {i.name for i in plan.inputs if i.kind == "vector"}
        # a source that keeps its samples on disk tells the sites without reading the targets
        known: Callable[[int], Mapping[str, NDArray[np.int32]]] | None = getattr(samples, "sites", None)
        self._sites = [known(k) if known else task.sites(samples[k].targets) for k in range(len(samples))]

    def batch(self, step: int) -> Batch:
        """See `isocenter.training.contract.Stream`."""
        parts = [self._patch(step, index) for index in range(self.spec.batch)]
        names = parts[0][0].keys()
        inputs = {name: torch.stack([p[0][name] for p in parts]) for name in names}
        there = {name: torch.tensor([p[1][name] for p in parts]) for name in names}
        present = {} if all(bool(t.all()) for t in there.values()) else there
        return Batch(inputs, present, self.task.collate([p[2] for p in parts]))

    def _patch(self, step: int, index: int) -> tuple[dict[str, Tensor], Mapping[str, bool], Targets]:
        rng = keyed_generator(self.spec.seed, self.number, step, index)
        case = int(rng.integers(len(self.samples)))
        sample = self.samples[case]
        spatial_map = self._map(rng, sample, self._centre(rng, case, sample.shape))
        kept = self._kept(rng, sample.present)
        inputs = {}
        for name, image in sample.inputs.items():
            if name in self._vectors:
                inputs[name] = image if kept[name] else torch.zeros_like(image)
                continue
            if not kept[name]:
                inputs[name] = torch.zeros(image.shape[0], *spatial_map.shape)
                continue
            patch = spatial_map.sample(image)
            if self.augment:
                apply_intensity(patch, draw_intensity(rng, self.spec.augmentation), out=patch)
            inputs[name] = patch
        return inputs, kept, self.task.warp(sample.targets, spatial_map)

    def _kept(self, rng: np.random.Generator, present: Mapping[str, bool]) -> Mapping[str, bool]:
        """The images of a patch: those of the case, less what is left out so that the network learns to do without."""
        share = self.spec.augmentation.drop_image
        if not self.augment or not share or not self._optional:
            return present
        dropped = dict(zip(self._optional, rng.random(len(self._optional)) < share, strict=True))
        kept = {name: there and not dropped.get(name, False) for name, there in present.items()}
        if any(kept.values()):
            return kept
        there = [name for name in present if present[name]]
        one = there[int(rng.integers(len(there)))] if there else None
        return {name: name == one for name in present}

    def _centre(self, rng: np.random.Generator, case: int, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        sites = self._sites[case]
        if sites and rng.random() < self.spec.foreground:
            names = list(sites)
            places = sites[names[int(rng.integers(len(names)))]]
            centre = places[int(rng.integers(len(places)))].astype(np.float64)
        else:
            centre = np.floor(rng.random(3) * shape)
        # inside the image where it is large enough, in the middle where it is not
        size, patch = np.asarray(shape), np.asarray(self.spec.patch)
        low = (patch - 1) // 2
        high = size - patch + low
        inside = np.clip(centre, low, np.maximum(low, high))
        return np.where(size >= patch, inside, (size - 1) // 2)

    def _map(self, rng: np.random.Generator, sample: Sample, centre: NDArray[np.float64]) -> SpatialMap:
        spec = self.spec.augmentation if self.augment else type(self.spec.augmentation)()
        grid = sample.placement.working
        return draw_map(
            rng,
            spec,
            centre=tuple(centre),
            shape=self.spec.patch,
            spacing_mm=grid.spacing_mm,
            lateral_axis=next((a for a, c in enumerate(grid.orientation) if c in "LR"), None),
        )
