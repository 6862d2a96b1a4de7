"""How several inputs become one: images early, as channels; vectors late, beside the pooled features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.plan import InputSpec

__all__ = ["EarlyFusion", "VectorStream", "stack_neighbours"]


class EarlyFusion(nn.Module):
    """Images as channels of one; an image that may be missing comes with a channel that says whether it is there.

    What stands in the tensor of a missing image does not matter: it is taken as zeros.

    Args:
        inputs: Of the plan; vectors among them are left out.

    Raises:
        PlanError: No image among them.

    Example:
        >>> fusion = EarlyFusion([InputSpec(name="ct"), InputSpec(name="pet", required=False)])
        >>> given = {"ct": torch.ones(2, 1, 1, 1, 1), "pet": torch.ones(2, 1, 1, 1, 1)}
        >>> fusion(given, {"ct": torch.tensor([True, True]), "pet": torch.tensor([True, False])}).flatten(1).tolist()
        [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, inputs: Sequence[InputSpec]) -> None:
        super().__init__()
        images = [i for i in inputs if i.kind == "image"]
        if not images:
            raise PlanError("inputs: this network reads images and there is none; take network.name 'measured'")
        self.names = tuple(i.name for i in images)
        self.optional = tuple(i.name for i in images if not i.required)
        self.channels = sum(i.channels for i in images) + len(self.optional)

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """``(batch, channels, D, H, W)``."""
        there = {n: _flag(inputs[n], present.get(n)) for n in self.optional}
        parts = [inputs[n] * there[n] if n in there and n in present else inputs[n] for n in self.names]
        parts += [flag.expand_as(inputs[n][:, :1]) for n, flag in there.items()]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class VectorStream(nn.Module):
    """Numbers of the case (measurements, clinical attributes) as features, to stand beside those of images.

    Args:
        inputs: Of the plan; images among them are left out.
        width: Features out, 0 where there is no vector.
    """

    def __init__(self, inputs: Sequence[InputSpec], width: int = 32) -> None:
        super().__init__()
        vectors = [i for i in inputs if i.kind == "vector"]
        self.names = tuple(i.name for i in vectors)
        self.optional = tuple(i.name for i in vectors if not i.required)
        self.width = width if vectors else 0
        numbers = sum(i.channels for i in vectors) + len(self.optional)
        self.body = nn.Sequential(nn.Linear(numbers, width), nn.LeakyReLU(0.01)) if vectors else nn.Identity()

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """``(batch, width)``."""
        parts = []
        for name in self.names:
            value = inputs[name].flatten(1)
            if name in self.optional:
                flag = _flag(inputs[name], present.get(name)).flatten(1)
                parts += [value * flag, flag]
            else:
                parts.append(value)
        return self.body(torch.cat(parts, 1))  # type: ignore[no-any-return]


def _flag(like: Tensor, present: Tensor | None) -> Tensor:
    """``(batch, 1, 1, 1, 1)`` of 0 and 1."""
    if present is None:
        return torch.ones_like(like[:, :1, :1, :1, :1])
    return present.to(like).view(-1, 1, 1, 1, 1)


def stack_neighbours(x: Tensor, context: int) -> Tensor:
    """Each slice with ``context`` slices on either side as channels; end slices stand in for those beyond.

    Args:
        x: ``(batch, channel, D, H, W)``.
        context: Slices on each side.

    Returns:
        ``(batch, (2 * context + 1) * channel, D, H, W)``, the first neighbour's channels first.

    Example:
        >>> stack_neighbours(torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1, 1), 1)[0, :, :, 0, 0].tolist()
        [[1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 3.0]]
    """
    slices = x.shape[2]
    padded = functional.pad(x, (0, 0, 0, 0, context, context), mode="replicate")
    return torch.cat([padded[:, :, k : k + slices] for k in range(2 * context + 1)], 1)
