"""Supervised learning: patches with truth, AdamW, averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isocenter.plan import Plan
from isocenter.tasks import Task
from isocenter.training import Batch, PatchStream, SampleSource, StepContext, strategy, update_average

__all__ = ["Supervised"]


@strategy("supervised")
class Supervised:
    """See `isocenter.training.contract.Strategy`.

    Args:
        plan: Optimiser and batch settings.
        task: Gives the loss.
    """

    def __init__(self, plan: Plan, task: Task) -> None:
        self.plan = plan
        self.task = task

    def modules(self, plan: Plan, network: nn.Module) -> nn.ModuleDict:
        """``network``, and ``average`` where the plan averages."""
        modules = nn.ModuleDict({"network": network})
        if plan.training.ema:
            modules["average"] = copy.deepcopy(network).requires_grad_(False)
        return modules

    def optimizers(self, modules: nn.ModuleDict) -> Mapping[str, Optimizer]:
        """AdamW (Loshchilov & Hutter 2019); biases and norms are not decayed."""
        spec = self.plan.training
        parameters = list(modules["network"].parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        for group in groups:
            group["initial_lr"] = spec.learning_rate
        return {"network": torch.optim.AdamW(groups, lr=spec.learning_rate)}

    def streams(self, data: Mapping[str, SampleSource]) -> Mapping[str, PatchStream]:
        """``labelled``, from ``train``."""
        return {"labelled": PatchStream(self.plan, self.task, data["train"])}

    def step(self, modules: nn.ModuleDict, batches: Mapping[str, Batch], context: StepContext) -> Mapping[str, Tensor]:
        """Forward, loss, backward, update, average."""
        batch = batches["labelled"]
        outputs = modules["network"](batch.inputs, batch.present)
        terms = self.task.loss(outputs, batch.targets)
        score = terms.pop("score")
        loss = torch.stack(list(terms.values())).sum()
        context.backward(loss)
        context.update("network")
        if "average" in modules:
            update_average(modules["average"], modules["network"], self.plan.training.ema, context.step)
        return {"loss": loss.detach(), "score": score, **{k: v.detach() for k, v in terms.items()}}

    def deployable(self, modules: nn.ModuleDict) -> nn.Module:
        """The averaged network."""
        return modules["average"] if "average" in modules else modules["network"]
