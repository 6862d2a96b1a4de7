"""What the verb `search` lends to its regime: rules, measuring on this machine, and fits that go on in rungs."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isocenter.data import CaseDataset
from isocenter.errors import DatasetError, PlanError
from isocenter.pipeline import Pipeline, Sample
from isocenter.plan import Plan
from isocenter.regimes import Choice, Costs, Footing, Rung
from isocenter.workflow.evaluating import MAIN_FIGURES
from isocenter.workflow.learning import Learner
from isocenter.workflow.progress import Progress
from isocenter.workflow.variants import Variants
from isocenter.workflow.workplace import Workplace

if TYPE_CHECKING:
    from torch import nn

    from isocenter.training import Progress as TrainingProgress
    from isocenter.workflow.preparing import Prepared

__all__ = ["Desk", "case_scores"]

TIMED_PREDICTIONS = 3
TIMED_STEPS = 6
TIMED_SECONDS = 15.0
"""For timing the steps of one plan, at most."""


@dataclass
class Desk:
    """A `isocenter.regimes.Bench` on a dataset.

    Attributes:
        variants: Make plans.
        dataset: With splits.
        place: For checkpoints of the trial at hand.
        cache: Folder of prepared cases.
        device: Of steps and predictions.
        began: Clock when the search began; earlier where it was interrupted.
        progress: Told how far the trial at hand is.
        allowance: Seconds of the whole search; ``None`` for as many as it takes.
    """

    variants: Variants
    dataset: CaseDataset
    place: Workplace
    cache: Path
    device: str
    began: float
    progress: Progress | None = None
    allowance: float | None = None
    seconds_prepare: float = 0.0
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _warm: bool = False

    @cached_property
    def patients(self) -> Mapping[str, str]:
        """Patient of each validation case."""
        return {case.id: case.patient for case in self.dataset.split("val")}

    def derive(self, choice: Choice) -> Plan:
        """See `Variants.derive`."""
        return self.variants.derive(choice)

    def spent(self) -> float:
        """Seconds of the search that are gone."""
        return time.perf_counter() - self.began

    def over(self) -> bool:
        """Whether its time is."""
        return self.allowance is not None and self.spent() > self.allowance

    def measure(self, plan: Plan) -> Footing:
        """Time and memory of steps, and time of predictions with random weights.

        What earlier trials left in memory is given back first.
        """
        from isocenter.planner.measuring import predicting_seconds, time_steps

        learner = self._learner(plan)
        train, held = learner.prepared.choose(self.dataset.split("train").ids), self._held(learner)
        if not self._warm:  # compiling kernels and reading code belong to no plan
            time_steps(plan, train, device=self.device, steps=1)
            self._warm = True
        _give_back_memory()
        try:
            timing = time_steps(plan, train, device=self.device, steps=TIMED_STEPS, seconds=TIMED_SECONDS)
            latency = predicting_seconds(plan, held[:TIMED_PREDICTIONS], device=self._where)
        except (MemoryError, RuntimeError) as error:
            if "memory" not in f"{type(error).__name__} {error}".lower():
                raise
            raise PlanError("a step, or a prediction, does not fit into the memory of this machine") from None
        return Footing(
            latency_s=round(latency, 4), memory_gb=round(timing.memory_gb, 3),
            seconds_per_step=round(timing.seconds_per_step, 4),
        )  # fmt: skip

    def costs(self, plan: Plan, footing: Footing, seconds: float) -> Costs:
        """What trials of a plan cost, from what it takes and how long measuring it took."""
        looks = 1 + len(plan.inference.views)  # trials are scored by plain looks
        return Costs(
            step=footing.seconds_per_step, rung=footing.latency_s / looks * len(self.patients), trial=seconds
        )  # fmt: skip

    def train(self, plan: Plan, number: int, steps: int) -> Rung:
        """Go on with the fit of a trial, and score validation cases by plain looks at them."""
        from isocenter.training import train

        began = time.perf_counter()
        folder = self.place.root / f"trial_{number}"
        for other in self.place.root.glob("trial_*"):
            if other != folder:
                shutil.rmtree(other)
        folder.mkdir(parents=True, exist_ok=True)
        learner = self._learner(plan)
        run = train(
            plan, learner.pipeline.task, {"train": learner.prepared.choose(self.dataset.split("train").ids)},
            folder=folder, resume=True, device=self.device, progress=self._live(),
            pause=lambda done: done >= steps or self.over(),
        )  # fmt: skip
        scores = case_scores(learner.pipeline, run.network.to(self._where), self._held(learner))
        run.network.cpu()
        return Rung(steps=run.steps, scores=scores, seconds=round(time.perf_counter() - began, 2))

    def _learner(self, plan: Plan) -> Learner:
        """With cases prepared, once for all plans that prepare them alike."""
        learner = Learner(plan, device=self.device, progress=self.progress)
        parts = plan.model_dump(mode="json", include={"inputs", "preprocess", "measured", "task"})
        key = json.dumps(parts, sort_keys=True)
        if key in self._prepared:
            learner.prepared = self._prepared[key]
        else:
            learner.prepare(self.dataset, self.cache)
            self.seconds_prepare += learner.seconds_prepare
            self._prepared[key] = learner.prepared
        return learner

    def _held(self, learner: Learner) -> Sequence[Sample]:
        found = learner.prepared.choose(self.dataset.split("val").ids)
        if not len(found):
            raise DatasetError(f"dataset {self.dataset.name}: no validation case can be used: {learner.problems[0]}")
        return [found.whole(k) for k in range(len(found))]

    def _live(self) -> Callable[[TrainingProgress], None] | None:
        progress = self.progress
        if progress is None:
            return None
        return lambda state: progress("training a trial", state.step, state.steps, state.figures)

    @property
    def _where(self) -> str:
        import torch

        return "cuda" if self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available()) else "cpu"


def case_scores(pipeline: Pipeline, network: nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
    """Mean over structures of the task's main figure, by case; without cases that rightly have nothing found.

    Args:
        pipeline: Of the plan.
        network: On the device where it is to run.
        samples: Prepared.
    """
    from isocenter.inference import Engine

    weights = [*network.parameters(), *network.buffers()]
    engine = Engine(pipeline, network, device=weights[0].device if weights else "cpu", views=())
    scores = {}
    for sample in samples:
        values = []
        for measure in pipeline.task.measure(engine.predict(sample), sample.case):
            figure = next((measure.values[n] for n in MAIN_FIGURES if n in measure.values), None)
            if figure is not None and measure.outcome != "absent":
                values.append(figure)
        if values:
            scores[sample.case.id] = float(np.mean(values))
    return scores


def _give_back_memory() -> None:
    """What is freed goes back to the system, so that a high mark belongs to the plan that is measured next."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
