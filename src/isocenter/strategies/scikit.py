"""The strategy ``scikit-learn``: one step that fits the network to all training cases at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isocenter.errors import PlanError
from isocenter.plan import Plan
from isocenter.tasks import Task
from isocenter.training import Batch, SampleSource, StepContext, strategy

__all__ = ["ScikitLearn"]


class _Whole:
    """All cases as one batch; images are left out, since such a network does not look at them."""

    def __init__(self, plan: Plan, task: Task, samples: SampleSource) -> None:
        self.names = [i.name for i in plan.inputs if i.kind == "vector"]
        self.task, self.samples = task, samples

    def batch(self, step: int) -> Batch:
        found = [self.samples[k] for k in range(len(self.samples))]
        inputs = {name: torch.stack([s.inputs[name] for s in found]) for name in self.names}
        return Batch(inputs, {}, self.task.collate([s.targets for s in found]))


@strategy("scikit-learn")
class ScikitLearn:
    """See `isocenter.training.contract.Strategy`; for networks that have ``fit``, such as ``measured``.

    Raises:
        PlanError: More than one step, or a task that does not classify.
    """

    def __init__(self, plan: Plan, task: Task) -> None:
        if plan.training.steps != 1:
            raise PlanError(
                f"training.steps: {plan.training.steps}; strategy 'scikit-learn' fits once, so say training.steps=1"
            )
        if plan.task.name != "classification":
            raise PlanError(f"training.strategy: 'scikit-learn' classifies, and the task is {plan.task.name}")
        self.plan, self.task = plan, task

    def modules(self, plan: Plan, network: nn.Module) -> nn.ModuleDict:
        """``network``.

        Raises:
            PlanError: It has no ``fit``.
        """
        if not hasattr(network, "fit"):
            raise PlanError(
                f"network.name: {plan.network.name!r} learns step by step; strategy 'scikit-learn' fits 'measured'"
            )
        return nn.ModuleDict({"network": network})

    def optimizers(self, modules: nn.ModuleDict) -> Mapping[str, Optimizer]:
        """None."""
        return {}

    def streams(self, data: Mapping[str, SampleSource]) -> Mapping[str, _Whole]:
        """``all``, from ``train``."""
        return {"all": _Whole(self.plan, self.task, data["train"])}

    def step(self, modules: nn.ModuleDict, batches: Mapping[str, Batch], context: StepContext) -> Mapping[str, Tensor]:
        """The fit."""
        batch = batches["all"]
        wrapped: Any = modules["network"]
        network = getattr(wrapped, "module", wrapped)
        x = network.vector(batch.inputs).cpu().numpy()
        answer = batch.targets["answer"].cpu().numpy().astype("int64")
        network.fit(x, answer, exclusive=self.plan.task.exclusive, seed=self.plan.training.seed)
        terms = self.task.loss(network(batch.inputs, {}), batch.targets)
        score = terms.pop("score")
        return {"loss": torch.stack(list(terms.values())).sum(), "score": score}

    def deployable(self, modules: nn.ModuleDict) -> nn.Module:
        """The network."""
        return modules["network"]
