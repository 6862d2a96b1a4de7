"""Plans that a search tries: by rules for a family of networks and its dimensions, then wider, deeper or changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isocenter.errors import ConfigError, PlanError
from isocenter.networks import networks
from isocenter.plan import Plan, set_values
from isocenter.regimes import Choice, SearchSpace
from isocenter.workflow.planning import Studied

__all__ = ["Variants"]

NAME, DIMENSIONS, RATE = "network.name", "network.dimensions", "training.learning_rate"
DENSE = ("unet", "residual-unet", "attention-unet", "segresnet", "light")
VOLUMES = ("pseudo3d", "hybrid")
WHOLE = ("resnet", "se-resnet", "densenet")
"""Families that are tried by default: for voxels, for voxels of volumes, for whole cases."""
WIDTHS = (0.5, 0.75, 1.0, 1.5)
DEPTHS = (-1, 0, 1)
RATES = (0.5, 1.0, 2.0)
SLICES = 4
"""Of a 3-D patch, from which on it is one."""
LEAST = 8
"""Voxels of an axis at the coarsest stage from which on a further stage may halve it."""
MOST_CHANNELS = 256


@dataclass(frozen=True)
class Variants:
    """Of what was studied.

    Attributes:
        studied: With the plan by rules.
        settings: Changes that a person asked for in every plan.
    """

    studied: Studied
    settings: Mapping[str, Any] | Sequence[str] = ()

    @property
    def plan(self) -> Plan:
        """By rules."""
        return self.studied.plan

    def space(self, said: SearchSpace, *, fixed: Iterable[str] = ()) -> SearchSpace:
        """What is tried by default, narrowed or widened by what a person said.

        Args:
            said: By a person.
            fixed: Keys that a person has decided otherwise.

        Raises:
            PlanError: A key that a plan does not have, a value it does not take, a network that there is none of.
            ConfigError: A key that was decided as well.
        """
        by_hand = {key for key, why in self.plan.reasons.items() if why == "set by hand"} | set(fixed)
        for key in said.choices:
            if key in by_hand:
                raise ConfigError(f"{key}: is both fixed and searched over; leave one of them out")
        said = self._read(said)
        usual = {
            NAME: self._families(),
            DIMENSIONS: self._dimensions(),
            "width": WIDTHS,
            "depth": tuple(d for d in DEPTHS if self._has(d)),
            RATE: tuple(float(f"{factor * self.plan.training.learning_rate:.4g}") for factor in RATES),
        }
        if not self._has(0):
            usual = {k: v for k, v in usual.items() if k not in ("width", "depth")}
        return SearchSpace.of({k: v for k, v in usual.items() if k not in by_hand}).narrowed(said)

    def first(self, space: SearchSpace) -> Choice:
        """The choice that stands for the plan by rules, in the space or outside it."""
        own = {"width": 1.0, "depth": 0}
        found = {}
        for key, values in space.choices.items():
            value = own.get(key, _value(self.plan, key))
            found[key] = next((v for v in values if v == value), value)
        return found

    def derive(self, choice: Choice) -> Plan:
        """The plan of a choice.

        Raises:
            PlanError: The rules give none, or it does not hold.
        """
        base = self._base(choice.get(NAME, self.plan.network.name), choice.get(DIMENSIONS))
        changes: dict[str, Any] = {}
        width, depth = choice.get("width", 1.0), choice.get("depth", 0)
        if width != 1 or depth:
            changes["network.options"] = _resized(base, width, depth)
        own = (NAME, DIMENSIONS, "width", "depth")
        changes |= {k: v for k, v in choice.items() if k not in own and _value(base, k) != v}
        return set_values(base, changes).model_copy(update={"reasons": base.reasons})

    def _base(self, name: str, dimensions: Any) -> Plan:
        spec = self.plan.network
        if (name, dimensions or spec.dimensions) == (spec.name, spec.dimensions):
            return self.plan
        made = self.studied.rules(name, dimensions)
        if self.plan.measured is not None:  # the same numbers beside other networks
            made = Plan.model_validate(made.model_dump(mode="json") | {
                "inputs": [i.model_dump(mode="json") for i in self.plan.inputs],
                "measured": self.plan.measured.model_dump(mode="json"),
            })  # fmt: skip
        return set_values(made, self.settings)

    def _families(self) -> tuple[str, ...]:
        own = self.plan.network.name
        volumes = self._dimensions() != (2,)
        usual = WHOLE if self.plan.task.name == "classification" else DENSE
        if self.plan.task.name == "segmentation" and volumes:
            usual = (*usual, *VOLUMES)
        return tuple(dict.fromkeys((own, *(n for n in usual if n in networks))))

    def _dimensions(self) -> tuple[int, ...]:
        """Both, where there are slices enough and the task can do without them."""
        own = self.plan.network.dimensions
        if self.plan.task.name != "segmentation":
            return (own,)
        try:
            other = self._base(self.plan.network.name, 5 - own)
        except PlanError:  # what was set by hand is for these dimensions
            return (own,)
        return (own, 5 - own) if own == 3 or other.training.patch[0] >= SLICES else (own,)

    def _has(self, depth: int) -> bool:
        try:
            _resized(self.plan, 1.0, depth)
        except PlanError:
            return False
        return True

    def _read(self, said: SearchSpace) -> SearchSpace:
        """The values as a plan has them: YAML takes 1e-3 for a word."""
        return SearchSpace.of({key: [self._one(key, v) for v in values] for key, values in said.choices.items()})

    def _one(self, key: str, value: Any) -> Any:
        if key in ("width", "depth"):
            return value
        if key == NAME:
            _ = networks[str(value)]
            return str(value)
        if key == DIMENSIONS:
            if value not in (2, 3):
                raise PlanError(f"{DIMENSIONS}: is 2 or 3, found {value!r}")
            return value
        return _value(set_values(self.plan, {key: value}), key)


def _resized(plan: Plan, width: float, depth: int) -> dict[str, Any]:
    """Options of the plan's network with other channels and stages."""
    options = dict(plan.network.options)
    channels, strides = list(options.get("channels") or ()), list(options.get("strides") or ())
    if not channels or not strides:
        raise PlanError(f"network {plan.network.name!r}: its plan has no stages that could be wider, more or fewer")
    kernels = list(options["kernels"]) if options.get("kernels") else None
    for _ in range(-depth):
        if len(channels) <= 2:
            raise PlanError(f"depth {depth}: {len(plan.network.options['channels'])} stages, 2 are the least")
        for row in (channels, strides, *([kernels] if kernels else [])):
            row.pop()
    for _ in range(depth):
        strides.append(_further(plan, options.get("stem", (1, 1, 1)), strides))
        channels.append(min(2 * channels[-1], max(MOST_CHANNELS, channels[-1])))
        if kernels:
            kernels.append(kernels[-1])
    heads = int(options.get("attention_heads", 4)) if plan.network.name == "hybrid" else 1
    grain = math.lcm(4, heads)
    wide = [max(grain, round(c * width / grain) * grain) if width != 1 else c for c in channels]
    return options | {"channels": wide, "strides": strides} | ({"kernels": kernels} if kernels else {})


def _further(plan: Plan, stem: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    """Stride of a stage more: 2 along axes that are still long enough."""
    left = [n / math.prod(s[k] for s in (stem, *strides)) for k, n in enumerate(plan.training.patch)]
    stride = [2 if n >= LEAST else 1 for n in left]
    if max(stride) == 1:
        raise PlanError(f"depth: a patch of {list(plan.training.patch)} voxels is too small for a stage more")
    return stride


def _value(plan: Plan, key: str) -> Any:
    """At a dotted key; ``None`` where there is none."""
    here: Any = plan.model_dump(mode="json")
    for part in key.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here
