"""A plan's losses together: what they need of the truth ahead, their weights, their sum over resolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.records import IGNORE, LabelSchema
from isocenter.tasks.losses.contract import Loss
from isocenter.tasks.losses.overlap import soft_dice
from isocenter.tasks.losses.seen import Seen

__all__ = ["class_weights", "prepare_losses", "sum_losses"]

AHEAD = "loss."
"""Begins the names of targets that losses have prepared."""


def class_weights(given: Mapping[str, float], schema: LabelSchema) -> Tensor | None:
    """Weight of each channel of the logits; ``None`` where all are 1.

    Raises:
        PlanError: A structure that is not there, or a weight that is none.

    Example:
        >>> class_weights({"tumour": 3}, LabelSchema.of({"liver": 1, "tumour": 2})).tolist()
        [1.0, 1.0, 3.0]
    """
    for name, weight in given.items():
        if name not in schema.names:
            known = ", ".join(schema.names)
            raise PlanError(f"task.options.class_weights: {name!r} is not one of the structures ({known})")
        if not 0 < weight < float("inf"):
            raise PlanError(f"task.options.class_weights.{name}: {weight:g} is not a positive number")
    if not given:
        return None
    return torch.tensor([1.0] * schema.exclusive + [given.get(name, 1.0) for name in schema.names])


def prepare_losses(terms: Mapping[str, Loss], labels: Tensor, schema: LabelSchema) -> dict[str, Tensor]:
    """What losses make of a batch of labels ahead, to be kept beside them: ``loss.<name>``.

    Args:
        terms: By name.
        labels: ``(batch, 1 or structure, D, H, W)``, as `isocenter.tasks.losses.Seen` takes them.
        schema: Of the labels.
    """
    # most losses prepare nothing; masks are not made for them
    asking = {name: term for name, term in terms.items() if type(term).prepare is not Loss.prepare}
    made: dict[str, list[Tensor]] = {name: [] for name in asking}
    for each in labels.numpy() if asking else ():
        masks, known = np.stack(list(schema.masks(each))), each != IGNORE
        for name, term in asking.items():
            part = term.prepare(masks, known)
            if part is not None:
                made[name].append(torch.from_numpy(part))
    return {f"{AHEAD}{name}": torch.stack(parts) for name, parts in made.items() if len(parts) == len(labels)}


def sum_losses(
    terms: Mapping[str, Loss],
    logits: Sequence[Tensor],
    targets: Mapping[str, Tensor],
    *,
    exclusive: bool,
    weights: Tensor | None,
) -> dict[str, Tensor]:
    """Each loss over all supervised resolutions, and ``score``, the mean Dice at the finest.

    Args:
        terms: By name.
        logits: Finest first; each counts half as much as the one before, all together 1.
        targets: ``labels``, and what `prepare_losses` made of them.
        exclusive: One structure a voxel.
        weights: Of each channel.
    """
    prepared = {name.removeprefix(AHEAD): value for name, value in targets.items() if name.startswith(AHEAD)}
    out = {name: torch.zeros(()) for name in terms}
    whole = sum(0.5**k for k in range(len(logits)))
    score = torch.zeros(())
    for k, outputs in enumerate(logits):
        labels = targets["labels"]
        if outputs.shape[2:] != labels.shape[2:]:
            labels = functional.interpolate(labels, size=outputs.shape[2:], mode="nearest-exact")
        seen = Seen(outputs, labels, exclusive, weights, prepared)
        for name, term in terms.items():
            if k == 0 or not term.finest_only:
                share = 1.0 if term.finest_only else 0.5**k / whole
                out[name] = out[name] + share * term.weight * term(seen)
        if k == 0:
            score = mean_dice(seen)
    return {**out, "score": score}


def mean_dice(seen: Seen) -> Tensor:
    """Soft Dice, mean over the structures in the batch, without gradient; 1 where there are none."""
    dice = soft_dice(seen).detach()
    score = torch.nan_to_num(dice, nan=0.0).sum() / (~dice.isnan()).sum().clamp_min(1)
    return torch.where(dice.isnan().all(), torch.ones_like(score), score)
