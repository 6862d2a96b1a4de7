"""Trees of scikit-learn as tensors: what they answer, and which feature it comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Trees"]

Floats = NDArray[np.float64]


class Trees(nn.Module):
    """Decision trees that are all of one depth: a leaf above it stands on as a chain of questions answered "yes".

    Args:
        count: Trees.
        depth: Questions from the root to a leaf.
        answers: Numbers in every leaf.
        start: What every leaf holds before trees are taken.

    Example:
        >>> trees = Trees(count=2, depth=1, answers=1)
        >>> trees(torch.zeros(3, 4)).shape
        torch.Size([3, 2, 1])
    """

    feature: Tensor
    threshold: Tensor
    value: Tensor
    share: Tensor

    def __init__(self, count: int, depth: int, answers: int, *, start: float = 0.0) -> None:
        super().__init__()
        nodes = 2 ** (depth + 1) - 1
        self.depth = depth
        self.register_buffer("feature", torch.zeros(count, nodes, dtype=torch.long))
        self.register_buffer("threshold", torch.full((count, nodes), torch.inf))
        self.register_buffer("value", torch.full((count, nodes, answers), start))
        self.register_buffer("share", torch.zeros(count, nodes))  # of the training cases that come by

    def forward(self, x: Tensor) -> Tensor:
        """What the leaves hold that cases ``(case, feature)`` fall into, ``(case, tree, answer)``."""
        trees = torch.arange(len(self.feature), device=x.device)
        node = torch.zeros(len(x), len(self.feature), dtype=torch.long, device=x.device)
        for _ in range(self.depth):
            asked = x.gather(1, self.feature[trees, node])
            node = 2 * node + 1 + (asked > self.threshold[trees, node]).long()
        return self.value[trees, node]

    def take(self, number: int, tree: Any, values: Floats) -> None:
        """Take a tree of scikit-learn.

        Args:
            number: Which of the trees it becomes.
            tree: The ``tree_`` of an estimator, no deeper than these.
            values: ``(node, answer)``, what its nodes hold.
        """
        came = tree.weighted_n_node_samples / tree.weighted_n_node_samples[0]
        stack = [(0, 0, 0, 1.0)]
        while stack:
            place, node, level, share = stack.pop()
            leaf = tree.children_left[node] < 0
            self.value[number, place] = torch.from_numpy(values[node]).to(self.value.dtype)
            self.share[number, place] = share
            if not leaf:
                self.feature[number, place] = int(tree.feature[node])
                # cases are 32-bit numbers: the largest of these that is not above the threshold asks the same
                self.threshold[number, place] = float(_below(tree.threshold[node]))
            if level < self.depth:
                yes, no = (node, node) if leaf else (tree.children_left[node], tree.children_right[node])
                shares = (share, 0.0) if leaf else (float(came[yes]), float(came[no]))
                stack += [(2 * place + 1, yes, level + 1, shares[0]), (2 * place + 2, no, level + 1, shares[1])]

    def contributions(self, x: Tensor, features: int) -> Tensor:
        """What each feature adds to the sum over trees, against the mean over training cases: Shapley values.

        A feature that is not known is answered by both branches, weighted by the training cases that went there.

        Args:
            x: One case, ``(feature,)``.
            features: How many there are.

        Returns:
            ``(answer, feature)``; they sum to the answer less its mean.

        Reference:
            Lundberg et al., *From local explanations to global understanding with explainable AI for trees*, Nature
            Machine Intelligence 2 (2020): path-dependent TreeSHAP.
        """
        boxes = [box for number in range(len(self.feature)) for box in self._leaves(number)]
        width = max(len(asked) for asked, _ in boxes)
        where = np.full((len(boxes), width), -1)
        known, unknown = np.ones((len(boxes), width)), np.ones((len(boxes), width))
        numbers = x.detach().cpu().double().numpy()
        for row, (asked, _) in enumerate(boxes):
            for column, (feature, (low, high, share)) in enumerate(asked.items()):
                where[row, column] = feature
                known[row, column], unknown[row, column] = float(low < numbers[feature] <= high), share
        values = np.stack([value for _, value in boxes])
        found = np.zeros((values.shape[1], features))
        for column, weight in enumerate(_shapley(known, unknown)):
            held = where[:, column] >= 0
            np.add.at(found.T, where[held, column], weight[held, None] * values[held])
        return torch.from_numpy(found).float()

    def _leaves(self, number: int) -> list[tuple[dict[int, tuple[float, float, float]], Floats]]:
        """Every leaf that a training case came to: interval and share of the cases by feature asked for, and values."""
        feature, threshold = self.feature[number].tolist(), self.threshold[number].tolist()
        share, value = self.share[number].tolist(), self.value[number].double().cpu().numpy()
        found: list[tuple[dict[int, tuple[float, float, float]], Floats]] = []
        stack: list[tuple[int, int, dict[int, tuple[float, float, float]]]] = [(0, 0, {})]
        while stack:
            place, level, asked = stack.pop()
            if level == self.depth:
                found.append((asked, value[place]))
                continue
            if math.isinf(threshold[place]):  # nothing is asked
                stack.append((2 * place + 1, level + 1, asked))
                continue
            low, high, part = asked.get(feature[place], (-math.inf, math.inf, 1.0))
            for side, bounds in ((1, (low, min(high, threshold[place]))), (2, (max(low, threshold[place]), high))):
                child = 2 * place + side
                kept = (*bounds, part * share[child] / share[place])
                stack.append((child, level + 1, {**asked, feature[place]: kept}))
        return found


def _below(threshold: float) -> np.float32:
    near = np.float32(threshold)
    return near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf))


def _shapley(known: Floats, unknown: Floats) -> Sequence[Floats]:
    """Weight of each feature of each leaf: mean over the orders in which features become known.

    Args:
        known: ``(leaf, feature)``: 1 where the case lies within the leaf as far as this feature goes, else 0.
        unknown: Share of training cases that do; both 1 for a feature that is not asked for.
    """
    width = known.shape[1]
    found = []
    for column in range(width):
        others = [k for k in range(width) if k != column]
        # ways[s]: sum over sets of s known others of the product of what is known and what is not
        ways = np.zeros((width, len(known)))
        ways[0] = 1
        for k in others:
            ways[1:] = ways[1:] * unknown[:, k] + ways[:-1] * known[:, k]
            ways[0] *= unknown[:, k]
        orders = [math.factorial(s) * math.factorial(width - 1 - s) / math.factorial(width) for s in range(width)]
        found.append((known[:, column] - unknown[:, column]) * (np.array(orders) @ ways))
    return found
