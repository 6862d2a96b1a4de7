"""Several networks as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from isocenter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """Mean of the outputs of networks with the same heads; itself a network under the same contract.

    Outputs are averaged as the networks give them, before they become probabilities: logits. Their mean is the
    logarithmic opinion pool, the geometric mean of the members' probabilities made to sum to one. Overlapping windows
    and test-time views are averaged in the same way, so that the order of all these means does not matter, and a
    calibration temperature divides the mean as it would divide each member. The price: one member that is very sure
    outweighs several that are not, which a mean of probabilities would bound.

    Args:
        members: At least one.

    Raises:
        ConfigError: No member.

    Example:
        >>> import torch
        >>> class Constant(nn.Module):
        ...     def __init__(self, value: float) -> None:
        ...         super().__init__()
        ...         self.value = nn.Parameter(torch.tensor([[value]]))
        ...     def forward(self, inputs, present):
        ...         return {"kind": self.value}
        >>> Ensemble([Constant(1.0), Constant(4.0)])({}, {})["kind"].item()
        2.5

    Reference:
        Heskes, *Selecting weighting factors in logarithmic opinion pools*, NIPS 1997; Lakshminarayanan et al., *Simple
        and scalable predictive uncertainty estimation using deep ensembles*, NIPS 2017.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise ConfigError("an ensemble needs at least one network")

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.members)

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `isocenter.networks.contract`; 32 bit, whatever the members compute in.

        Raises:
            ConfigError: The members have different heads.
        """
        total: dict[str, Tensor] = {}
        for number, member in enumerate(self.members):
            outputs = cast("Mapping[str, Tensor]", member(inputs, present))
            if number and outputs.keys() != total.keys():
                raise ConfigError(
                    f"member {number} of the ensemble gives {sorted(outputs)}, those before it {sorted(total)};"
                    " take networks of one plan"
                )
            for name, value in outputs.items():
                total[name] = total[name] + value.float() if number else value.float()
        return {name: value / len(self.members) for name, value in total.items()}
