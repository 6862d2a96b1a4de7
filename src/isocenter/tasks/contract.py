"""What a task is: the decision layer, from annotations to targets, from network outputs to a decoded result.

A task is built from `isocenter.plan.TaskSpec` by a registered class and knows nothing of files, windows, networks or
optimisers. Nouns:

- `Targets`: named tensors of one sample on the working grid; `Task.collate` makes a batch of them.
- `Slab`: a finished part of the reduced outputs, in order of slices; dense outputs never exist as a whole.
- `Reducer`: merges the outputs of overlapping windows (and of test-time views, folds, Monte-Carlo samples) to slabs.
- `Placement`: the working grid, and the grid the result is wanted on, both with the same order of axes.
- `Decoded`: annotations on the placement's target grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isocenter.plan import Registry, TaskSpec
from isocenter.records import Annotation, Case, Flag, Prediction
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from isocenter.augment import SpatialMap
    from isocenter.metrics import Measure
    from isocenter.networks import HeadSpec

__all__ = [
    "Calibration",
    "Decoded",
    "Placement",
    "Reducer",
    "Slab",
    "Targets",
    "Task",
    "Window",
    "build_task",
    "task",
    "tasks",
]

Targets = dict[str, Tensor]


@dataclass(frozen=True)
class Window:
    """Part of the working grid: first index and size along slice, row and column."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Slab:
    """Reduced outputs of some slices.

    Attributes:
        start: First slice on the working grid.
        outputs: By head: ``(channel, slices, row, column)`` for dense heads, whatever the task agreed for others.
    """

    start: int
    outputs: Mapping[str, Tensor]


class Reducer(Protocol):
    """Merges window outputs; windows arrive in order of their first slice."""

    def begin(self, shape: tuple[int, int, int]) -> None:
        """Start on a working grid of ``shape``."""

    def add(self, outputs: Mapping[str, Tensor], window: Window) -> Iterable[Slab]:
        """Take the outputs of one window, without batch axis; give the slabs that no later window can change."""

    def end(self) -> Iterable[Slab]:
        """Give what is left."""


@dataclass(frozen=True)
class Placement:
    """Where a result is computed and where it is wanted.

    Attributes:
        working: Grid of the network's inputs.
        target: The reference image's grid, axes in the order of ``working``: only scale and offset differ.
    """

    working: Grid
    target: Grid


@dataclass(frozen=True)
class Calibration:
    """Fitted on cases that trained nothing: outputs are divided by ``temperature`` before they become probabilities."""

    temperature: float = 1.0


@dataclass(frozen=True)
class Decoded:
    """What the outputs mean, on the placement's target grid.

    Attributes:
        annotations: Label maps, boxes, classes.
        maps: Further volumes, e.g. probabilities.
        flags: What a reader must know.
    """

    annotations: tuple[Annotation, ...]
    maps: Mapping[str, Volume] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()


@runtime_checkable
class Task(Protocol):
    """One kind of decision.

    A task whose objects have scores also has ``threshold``: results show the objects from this score on, while
    measures see all of them.
    """

    spec: TaskSpec

    def heads(self) -> Mapping[str, HeadSpec]:
        """Outputs that the network must have."""

    def encode(self, case: Case, grids: Mapping[str, Grid]) -> Targets:
        """Truth of a case as tensors on the working grid.

        Args:
            case: With the annotation that the plan names.
            grids: Working grid by image name.

        Raises:
            LabelError: A value that the schema does not declare, or no annotation of the kind.
            GeometryError: The annotation does not lie on its image.
        """

    def warp(self, targets: Targets, spatial_map: SpatialMap) -> Targets:
        """Targets of a patch: moved as the image is; left and right swap where the map mirrors."""

    def collate(self, targets: Sequence[Targets]) -> Targets:
        """Targets of a batch."""

    def sites(self, targets: Targets) -> Mapping[str, NDArray[np.int32]]:
        """Voxels ``(n, 3)`` of each structure, for sampling patches; empty where nothing has a place."""

    def loss(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Loss terms by name, whose sum is minimised, and under ``"score"`` a live figure, 0 to 1, 1 being best."""

    def reducer(self) -> Reducer:
        """A fresh reducer for one case."""

    def decode(self, slabs: Iterator[Slab], placement: Placement, calibration: Calibration | None = None) -> Decoded:
        """Read the slabs, in order, once."""

    def measure(self, prediction: Prediction, case: Case) -> list[Measure]:
        """Compare with the truth of ``case``."""


tasks: Registry[Callable[[TaskSpec, str], Task]] = Registry("task", home="isocenter.tasks")


def task(name: str) -> Callable[[Any], Any]:
    """Decorator that registers a task: a callable ``(spec: TaskSpec, reference: str) -> Task``.

    ``reference`` is the name of the image whose grid the result is given on.
    """
    return tasks.register(name)


def build_task(spec: TaskSpec, reference: str) -> Task:
    """The task that a plan asks for.

    Raises:
        PlanError: No such task, or a specification it cannot work with.
    """
    return tasks[spec.name](spec, reference)
