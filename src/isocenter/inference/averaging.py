"""Outputs for several looks at a window become one answer: a mean over the looks that saw each voxel.

Outputs are averaged before they become probabilities, as over windows and in `isocenter.networks.Ensemble`, which says
why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from isocenter.errors import PlanError
from isocenter.inference.views import PlacedView
from isocenter.plan.learning import ViewSpec
from isocenter.records import LabelSchema
from isocenter.tasks import Task

__all__ = ["ViewMean", "channel_orders", "check_views"]


def channel_orders(task: Task) -> dict[str, list[int]]:
    """By head: where each channel lies after left and right were exchanged.

    Raises:
        PlanError: A head whose channels are not those of the plan's structures or classes, while some are partners.

    Example:
        >>> from isocenter.plan import StructureSpec, TaskSpec
        >>> from isocenter.tasks import build_task
        >>> sides = ("lung_left", "lung_right")
        >>> parts = [StructureSpec(name=n, values=(k,), mirror=sides[-k]) for k, n in enumerate(sides, 1)]
        >>> channel_orders(build_task(TaskSpec(structures=tuple(parts)), "ct"))
        {'segmentation': [0, 2, 1]}
    """
    spec = task.spec
    schema = spec.schema_ if spec.structures else LabelSchema.of({name: k for k, name in enumerate(spec.classes, 1)})
    order = list(schema.mirror_order)
    paired = order != list(range(len(order)))
    orders = {}
    for name, head in task.heads().items():
        if not paired:
            orders[name] = list(range(head.channels))
        elif head.channels == len(order):
            orders[name] = order
        elif head.channels == len(order) + 1 and schema.exclusive:
            orders[name] = [0, *(k + 1 for k in order)]
        else:
            raise PlanError(
                f"inference.views: output {name!r} has {head.channels} channels for {len(order)} structures, so it is"
                " not known which of them a mirrored view exchanges; leave mirror out of the views"
            )
    return orders


def check_views(views: Sequence[ViewSpec], task: Task) -> None:
    """Refuse views that a task's outputs cannot be brought back from.

    Raises:
        PlanError: A head of objects on a coarse grid, or see `channel_orders`.
    """
    for name, head in task.heads().items():
        if views and head.kind == "strided":
            raise PlanError(
                f"inference.views: output {name!r} of task {task.spec.name!r} tells of objects in cells, with offsets"
                " and edges along the axes; turned or mirrored ones cannot be averaged cell by cell. Leave views out"
            )
    if any(view.mirror for view in views):
        channel_orders(task)


class ViewMean:
    """Running mean of outputs over the plain look and views.

    Args:
        plain: Outputs for the windows, by head, with batch axis.
        dense: Names of the dense heads.
        orders: See `channel_orders`; empty where no view is mirrored.
    """

    def __init__(self, plain: Mapping[str, Tensor], dense: Sequence[str], orders: Mapping[str, Sequence[int]]) -> None:
        self._sum = {name: value.clone() for name, value in plain.items()}
        self._weight = {name: value.new_ones(()) for name, value in plain.items()}
        self._dense = frozenset(dense)
        self._orders = orders

    def add(self, outputs: Mapping[str, Tensor], view: PlacedView) -> None:
        """Take the outputs for a view."""
        for name, value in outputs.items():
            if view.mirrored and name in self._orders:
                value = value[:, list(self._orders[name])]
            values, seen = view.back(value) if name in self._dense else (value, value.new_ones(()))
            self._sum[name] += values
            self._weight[name] = self._weight[name] + seen

    def result(self) -> dict[str, Tensor]:
        """The means."""
        return {name: value / self._weight[name] for name, value in self._sum.items()}
