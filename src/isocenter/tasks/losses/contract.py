"""What a loss is: a registered, typed term of the sum that `Segmentation` minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from torch import Tensor

from isocenter.errors import PlanError
from isocenter.plan import Options, Registry, read_options
from isocenter.tasks.losses.seen import Seen

__all__ = ["Loss", "build_losses", "loss", "losses"]


class Loss(Options, ABC):
    """Base of losses; the fields are the options that a plan may set.

    A subclass computes ``__call__(seen)``: a scalar that is least at the truth.

    Attributes:
        weight: In the sum.

    Example:
        >>> class Volume(Loss):
        ...     power: float = 1.0
        ...     def __call__(self, seen: Seen) -> Tensor:
        ...         return (seen.probabilities - seen.one_hot).mul(seen.mask).sum().abs() ** self.power
        >>> Volume(weight=2).power
        1.0
    """

    model_config = ConfigDict(allow_inf_nan=False)

    kind: ClassVar[str] = ""
    """Name under which it is registered, and under which `Seen.prepared` holds what it prepares."""
    finest_only: ClassVar[bool] = False
    """Whether coarser supervised levels are left out."""

    weight: float = Field(default=1.0, gt=0)

    @abstractmethod
    def __call__(self, seen: Seen) -> Tensor:
        """The loss, without its weight; a scalar."""

    def prepare(self, masks: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        """What is made of a patch's truth ahead, by the threads that prepare batches; ``None`` for nothing.

        Args:
            masks: Truth of each structure, ``(structure, D, H, W)``.
            known: Where it is annotated, ``(1 or structure, D, H, W)``.

        Returns:
            As a tensor in `Seen.prepared`, under the loss's name, in the size of the finest level: set `finest_only`.
        """
        return None


losses: Registry[type[Loss]] = Registry("loss", home="isocenter.tasks.losses")


def loss(name: str) -> Callable[[type[Loss]], type[Loss]]:
    """Decorator that registers a loss, for ``task.options.loss`` of a plan.

    Raises:
        PlanError: The name is taken.
    """

    def enter(kind: type[Loss]) -> type[Loss]:
        kind.kind = name
        return losses.register(name)(kind)

    return enter


def build_losses(given: Mapping[str, float | Mapping[str, Any]]) -> dict[str, Loss]:
    """Losses by name, from a plan: ``{"dice": 1, "tversky": {"weight": 0.5, "beta": 0.7}}``.

    Raises:
        PlanError: None at all, one that is not registered, or an option that it does not take.

    Example:
        >>> build_losses({"dice": 1, "top-k": {"share": 0.2}})["top-k"].share
        0.2
    """
    if not given:
        raise PlanError("task.options.loss: nothing would be learned; name at least one")
    built = {}
    for name, options in given.items():
        said = {"weight": options} if not isinstance(options, Mapping) else options
        built[name] = read_options(losses[name], said, where=f"task.options.loss.{name}", owner=name)
    return built
