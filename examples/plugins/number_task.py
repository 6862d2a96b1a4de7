r"""A task from outside the package: a number that belongs to the whole case, such as an age, a volume or a score.

On the command line:

    isocenter --plugin number_task fit DATASET --task number --target age --out model \
        --set 'task.options={mean: 60, scale: 15, unit: a, tolerance: 10}'

The truth is the `Scalar` of that name, else the attribute (a column of the dataset's table). A task says which outputs
it needs, turns annotations into targets and outputs into annotations, and measures; `isocenter.tasks.contract` states
each method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from isocenter.errors import LabelError, PlanError
from isocenter.metrics import Measure
from isocenter.networks import HeadSpec
from isocenter.plan import TaskSpec
from isocenter.records import Case, Prediction, Scalar
from isocenter.tasks import Calibration, Decoded, MeanReducer, Placement, Slab, Targets, TaskOptions, read_options, task
from isocenter.volume import Grid

HEAD = "number"


class NumberOptions(TaskOptions):
    """What `task.options` of a plan may hold; anything else is refused with the nearest name."""

    mean: float = 0.0  # the network learns (value - mean) / scale
    scale: float = Field(default=1.0, gt=0)
    unit: str = "1"  # UCUM
    tolerance: float = Field(default=1.0, gt=0)  # an error up to here counts as right


@task("number")  # from now on `--task number` finds it
class Number:
    """See `isocenter.tasks.contract.Task`."""

    def __init__(self, spec: TaskSpec, reference: str) -> None:
        if not spec.target:
            raise PlanError("task.target: which number? name the attribute, e.g. --target age")
        self.spec = spec
        self.target: str = spec.target
        self.options = read_options(NumberOptions, spec)

    def heads(self) -> Mapping[str, HeadSpec]:
        """One output for the whole case, so the planner makes the whole case one patch."""
        return {HEAD: HeadSpec("global", channels=1)}

    def truth(self, case: Case) -> float:
        """The true number."""
        found = case.find(Scalar, name=self.target)
        try:
            return found.value if found else float(case.attributes[self.target])
        except (KeyError, ValueError):
            raise LabelError(f"case {case.id}: has no number {self.target!r}; add it, or leave the case out") from None

    def encode(self, case: Case, grids: Mapping[str, Grid]) -> Targets:
        """Truth as tensors."""
        return {"value": torch.tensor((self.truth(case) - self.options.mean) / self.options.scale)}

    def warp(self, targets: Targets, spatial_map: Any) -> Targets:
        """Turning an image does not change the number."""
        return targets

    def collate(self, targets: Sequence[Targets]) -> Targets:
        """A batch."""
        return {"value": torch.stack([one["value"] for one in targets])}

    def sites(self, targets: Targets) -> Mapping[str, Any]:
        """The number lies nowhere in particular."""
        return {}

    def loss(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Terms whose sum is minimised, and under `score` a figure from 0 to 1 to watch."""
        error = outputs[HEAD][:, 0].float() - targets["value"]
        right = error.detach().abs() * self.options.scale <= self.options.tolerance
        return {"huber": functional.smooth_l1_loss(error, torch.zeros_like(error)), "score": right.float().mean()}

    def reducer(self) -> MeanReducer:
        """Mean over windows, test-time views and members of an ensemble."""
        return MeanReducer(HEAD)

    def decode(self, slabs: Iterator[Slab], placement: Placement, calibration: Calibration | None = None) -> Decoded:
        """What the outputs mean."""
        (slab,) = slabs
        value = float(slab.outputs[HEAD][0]) * self.options.scale + self.options.mean
        return Decoded((Scalar(name=self.target, source="model", value=value, unit=self.options.unit),))

    def measure(self, prediction: Prediction, case: Case) -> list[Measure]:
        """Figures of one case; `isocenter evaluate` averages them. While it learns, `fit` shows `accuracy`."""
        (found,) = [a for a in prediction.annotations if isinstance(a, Scalar)]
        error = abs(found.value - self.truth(case))
        values = {"absolute_error": error, "accuracy": float(error <= self.options.tolerance)}
        return [Measure(case.id, case.patient, self.target, values)]
