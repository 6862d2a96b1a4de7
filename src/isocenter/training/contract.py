"""What a strategy is: one kind of optimisation step, over the same plan, data, network and evaluation as all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from isocenter.plan import Registry
from isocenter.tasks import Targets, Task

if TYPE_CHECKING:
    from isocenter.pipeline import Sample
    from isocenter.plan import Plan

__all__ = ["Batch", "SampleSource", "StepContext", "Strategy", "Stream", "build_strategy", "strategies", "strategy"]


@dataclass
class Batch:
    """Patches of one step (not frozen: moving it to a device rebuilds it field by field).

    Attributes:
        inputs: By image name: ``(batch, channel, D, H, W)``.
        present: By image name: ``(batch,)`` bool; empty where every image of every patch is there.
        targets: As `Task.collate` gives them.
    """

    inputs: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    targets: Targets


class SampleSource(Protocol):
    """Prepared samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Stream(Protocol):
    """Batches by step: a pure function of seed and step, so that neither workers nor a resume change it."""

    def batch(self, step: int) -> Batch:
        """Batch of a step, counted from 0."""


@dataclass(frozen=True)
class StepContext:
    """What the loop lends to a step.

    Attributes:
        step: Counted from 0.
        steps: Of the whole fit.
        task: For its loss.
        optimizers: As the strategy made them.
        backward: Back-propagates a loss with the precision and devices of the fit.
        update: Clips the gradients of an optimizer's parameters, takes its step, clears them.
    """

    step: int
    steps: int
    task: Task
    optimizers: Mapping[str, Optimizer]
    backward: Callable[[Tensor], None]
    update: Callable[[str], None]


class Strategy(Protocol):
    """One kind of step."""

    def modules(self, plan: Plan, network: nn.Module) -> nn.ModuleDict:
        """Everything that learns or is averaged: the network, and teacher, discriminators ... where it has them."""

    def optimizers(self, modules: nn.ModuleDict) -> Mapping[str, Optimizer]:
        """Optimizers by name; the loop moves their learning rate along the plan's schedule."""

    def streams(self, data: Mapping[str, SampleSource]) -> Mapping[str, Stream]:
        """Streams by name from prepared data by name (``"train"``; ``"unlabelled"`` ...)."""

    def step(self, modules: nn.ModuleDict, batches: Mapping[str, Batch], context: StepContext) -> Mapping[str, Tensor]:
        """One step, backward and update included; gives figures to log, ``"loss"`` and ``"score"`` among them."""

    def deployable(self, modules: nn.ModuleDict) -> nn.Module:
        """The network that predicts: averaged weights, the student ..."""


strategies: Registry[Callable[[Plan, Task], Strategy]] = Registry("strategy", home="isocenter.strategies")


def strategy(name: str) -> Callable[[Any], Any]:
    """Decorator that registers a strategy: a callable ``(plan, task) -> Strategy``."""
    return strategies.register(name)


def build_strategy(plan: Plan, task: Task) -> Strategy:
    """The strategy that a plan asks for.

    Raises:
        PlanError: No such strategy.
    """
    return strategies[plan.training.strategy](plan, task)
