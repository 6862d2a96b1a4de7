"""What an anatomical prior is.

- `Prior`: a typed option with two sides. ``check`` looks at finished labels and names what anatomy forbids; that
  becomes a flag of the prediction. ``repair`` changes the class maps of one slice where the network was nearly right,
  before they become labels, and leaves alone what it would have to invent.
- `Violation`: one thing that is not as it must be.

Repairs run slice by slice on the working grid, so nothing is held that was not held before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import PlanError
from isocenter.plan import Options, Registry, read_options
from isocenter.volume import Grid

__all__ = ["Labels", "Maps", "Prior", "Violation", "build_priors", "prior", "priors"]

Maps = NDArray[np.float32]
"""Logits of a slice, ``(class, row, column)``, background first."""
Labels = Mapping[str, NDArray[np.bool_]]
"""Masks of structures by name, ``(slice, row, column)``."""


@dataclass(frozen=True)
class Violation:
    """What anatomy forbids and a result shows.

    Attributes:
        prior: Kind of the prior.
        text: What, where, and what was expected, for a person.
        slice: Where it is in one slice alone.
    """

    prior: str
    text: str
    slice: int | None = None


class Prior(Options, ABC):
    """Base of priors; the fields are the options that a plan may set."""

    kind: ClassVar[str] = ""

    @property
    @abstractmethod
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that it speaks of."""

    @abstractmethod
    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """What is not as it must be.

        Args:
            labels: Finished masks on the image's own grid, ``(slice, row, column)``.
            grid: Where their voxels are.
        """

    def repair(self, maps: Maps, numbers: Mapping[str, int]) -> Maps:
        """Class maps of a slice with what the prior forbids taken away, where that needs little; else as they were.

        Args:
            maps: Not to be changed in place.
            numbers: Of each structure in ``maps``.
        """
        return maps


priors: Registry[type[Prior]] = Registry("prior", home="isocenter.tasks.priors")


def prior(name: str) -> Callable[[type[Prior]], type[Prior]]:
    """Decorator that registers a prior, for ``task.options.priors`` of a plan.

    Raises:
        PlanError: The name is taken.
    """

    def enter(kind: type[Prior]) -> type[Prior]:
        kind.kind = name
        return priors.register(name)(kind)

    return enter


def build_priors(given: Sequence[Mapping[str, Any]], known: Sequence[str]) -> tuple[Prior, ...]:
    """Priors from a plan: ``[{"kind": "ring", "inner": "ventricle", "outer": "wall"}]``.

    Raises:
        PlanError: No ``kind``, one that is not registered, an option that it does not take, or a structure that the
            plan does not have.

    Example:
        >>> build_priors([{"kind": "ring", "inner": "lv", "outer": "wall"}], ["lv", "wall"])[0].structures
        ('lv', 'wall')
    """
    built = []
    for k, options in enumerate(given):
        where = f"task.options.priors[{k}]"
        if "kind" not in options:
            raise PlanError(f"{where}: names no kind; there are {', '.join(priors.names())}")
        name = str(options["kind"])
        made = read_options(priors[name], {n: v for n, v in options.items() if n != "kind"}, where=where, owner=name)
        for structure in made.structures:
            if structure not in known:
                raise PlanError(f"{where}: no structure {structure!r}; the plan has {', '.join(known)}")
        built.append(made)
    return tuple(built)
