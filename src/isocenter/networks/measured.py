"""Models of measured features: logistic regression and random forests, fitted by scikit-learn, kept as tensors.

What scikit-learn fits becomes buffers of a torch module, so that the model is saved, loaded, evaluated, calibrated and
served like any network, without a pickle. The fit itself is the strategy ``scikit-learn``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from isocenter.errors import PlanError
from isocenter.networks.contract import HeadSpec, network
from isocenter.plan import InputSpec, NetworkSpec, Options, read_options

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

__all__ = ["Measured", "MeasuredOptions"]

PENALTIES = tuple(10.0**k for k in (2, 1.5, 1, 0.5, 0, -0.5, -1, -1.5, -2))
"""That are tried, the strongest first: between equals the simplest model wins."""


class MeasuredOptions(Options):
    """Options of ``measured`` in a plan.

    Attributes:
        model: ``"logistic"`` regression with a squared penalty, or a ``"forest"``.
        penalty: One over scikit-learn's ``C``; chosen by cross-validation among the training cases where ``None``.
        trees: Of a forest.
        depth: Of its trees.
    """

    model: Literal["logistic", "forest"] = "logistic"
    penalty: float | None = Field(default=None, gt=0)
    trees: int = Field(default=200, ge=1, le=5000)
    depth: int = Field(default=4, ge=1, le=12)


@network("measured")
def build_measured(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> Measured:
    """Build from a plan.

    Raises:
        PlanError: Unknown options, no vector among the inputs, or a head that is not global.
    """
    options = read_options(MeasuredOptions, spec.options, where="network.options", owner=spec.name)
    return Measured(options, inputs, heads)


class Measured(nn.Module):
    """See the module's text; images among the inputs are not looked at.

    Before it is fitted every answer is equally probable.
    """

    def __init__(self, options: MeasuredOptions, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        vectors = [i for i in inputs if i.kind == "vector"]
        if not vectors:
            raise PlanError("network 'measured' reads numbers of the case and the plan has none; see `measured`")
        if len(heads) != 1 or next(iter(heads.values())).kind != "global":
            raise PlanError("network 'measured' answers one question about the whole case; take another network")
        (self.head, spec), *_ = heads.items()
        self.options, self.names = options, [i.name for i in vectors]
        self.features, self.answers = sum(i.channels for i in vectors), spec.channels
        if options.model == "logistic":
            self.register_buffer("weight", torch.zeros(self.answers, self.features))
            self.register_buffer("bias", torch.zeros(self.answers))
        else:
            nodes = 2 ** (options.depth + 1) - 1
            self.register_buffer("feature", torch.zeros(options.trees, nodes, dtype=torch.long))
            self.register_buffer("threshold", torch.full((options.trees, nodes), torch.inf))
            self.register_buffer("value", torch.full((options.trees, nodes, self.answers), 1 / self.answers))

    def vector(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """``(batch, feature)``."""
        return torch.cat([inputs[name].flatten(1) for name in self.names], 1)

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `isocenter.networks.contract`: logits of the answers."""
        with torch.autocast(next(iter(inputs.values())).device.type, enabled=False):
            x = self.vector(inputs).float()
            if self.options.model == "logistic":
                return {self.head: x @ self._buffer("weight").T + self._buffer("bias")}
            return {self.head: self._grown(x).clamp_min(1e-3).log()}

    def contributions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What each feature adds to each logit against an average case, ``(batch, answer, feature)``; logistic only.

        For a linear model these are the Shapley values of independent features.

        Raises:
            PlanError: The model is a forest.
        """
        if self.options.model != "logistic":
            raise PlanError("network 'measured': contributions are exact for model 'logistic' alone")
        return self.vector(inputs).float()[:, None] * self._buffer("weight")

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64], *, exclusive: bool, seed: int) -> None:
        """Fit by scikit-learn; classes weigh as if each were equally frequent.

        Args:
            x: ``(case, feature)``, standardised.
            y: ``(case,)`` numbers of answers, or ``(case, answer)`` of 0 and 1 where several may hold.
            exclusive: Exactly one answer holds.
            seed: Of a forest, and of the folds by which a penalty is chosen.

        Raises:
            PlanError: A forest cannot answer questions with several answers here.
        """
        if self.options.model == "forest":
            if not exclusive:
                raise PlanError("network 'measured': a forest answers exclusive questions; take model 'logistic'")
            self._take_forest(_fit_forest(self.options, x, y, seed))
            return
        columns = [y] if exclusive else [y[:, k] for k in range(self.answers)]
        weight, bias = np.zeros((self.answers, self.features)), np.full(self.answers, -20.0 if exclusive else 0.0)
        for k, column in enumerate(columns):
            answers, rows, offsets = _fit_logistic(self.options, x, column, seed)
            at = answers if exclusive else [k]
            weight[at], bias[at] = (rows, offsets) if exclusive else (rows[-1:], offsets[-1:])
        self._buffer("weight").copy_(torch.from_numpy(weight))
        self._buffer("bias").copy_(torch.from_numpy(bias))

    def _buffer(self, name: str) -> Tensor:
        found: Tensor = getattr(self, name)
        return found

    def _grown(self, x: Tensor) -> Tensor:
        """Mean over trees of the share of each answer in the leaf that a case falls into."""
        feature, threshold, value = (self._buffer(n) for n in ("feature", "threshold", "value"))
        trees = torch.arange(len(feature), device=x.device)
        node = torch.zeros(len(x), len(feature), dtype=torch.long, device=x.device)
        for _ in range(self.options.depth):
            asked = x.gather(1, feature[trees, node])
            node = 2 * node + 1 + (asked > threshold[trees, node]).long()
        return value[trees, node].mean(1)

    def _take_forest(self, forest: RandomForestClassifier) -> None:
        """Trees as complete binary trees: a leaf's children are leaves like it."""
        feature, threshold, value = (self._buffer(n) for n in ("feature", "threshold", "value"))
        for number, grown in enumerate(forest.estimators_):
            tree: Any = grown.tree_
            shares = np.zeros((tree.node_count, self.answers))
            counts = tree.value[:, 0]
            shares[:, forest.classes_.astype(int)] = counts / counts.sum(1, keepdims=True)
            stack = [(0, 0, 0)]
            while stack:
                place, node, level = stack.pop()
                leaf = tree.children_left[node] < 0
                value[number, place] = torch.from_numpy(shares[node])
                if not leaf:
                    feature[number, place] = int(tree.feature[node])
                    # scikit-learn compares in 32 bit: x <= threshold goes left
                    threshold[number, place] = float(np.float32(tree.threshold[node]))
                if level < self.options.depth:
                    left, right = (node, node) if leaf else (tree.children_left[node], tree.children_right[node])
                    stack += [(2 * place + 1, left, level + 1), (2 * place + 2, right, level + 1)]


def _fit_logistic(
    options: MeasuredOptions, x: NDArray[np.float32], y: NDArray[np.int64], seed: int
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Answers that occur, and their weights and biases."""
    from sklearn.linear_model import LogisticRegression

    found = sorted(set(y.tolist()))
    if len(found) == 1:
        sure = 4.0 if found[0] else -4.0
        return [int(found[0])], np.zeros((1, x.shape[1])), np.array([sure])
    penalty = options.penalty or _choose_penalty(x, y, seed)
    model = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=5000)
    model.fit(x.astype(np.float64), y)
    rows, offsets = model.coef_, model.intercept_
    if len(found) == 2:  # one row tells both apart
        rows, offsets = np.concatenate([0 * rows, rows]), np.concatenate([0 * offsets, offsets])
    return [int(v) for v in found], rows, offsets


def _choose_penalty(x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> float:
    """The one that predicts held-out training cases best; 1 where an answer has a single case."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    fewest = int(min(n for n in np.bincount(y.astype(int)) if n))
    if fewest < 2:
        return 1.0
    folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=seed)
    scores = []
    for penalty in PENALTIES:
        model = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=5000)
        scores.append(cross_val_score(model, x.astype(np.float64), y, cv=folds, scoring="neg_log_loss").mean())
    return PENALTIES[int(np.argmax(scores))]


def _fit_forest(
    options: MeasuredOptions, x: NDArray[np.float32], y: NDArray[np.int64], seed: int
) -> RandomForestClassifier:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        options.trees, max_depth=options.depth, class_weight="balanced", random_state=seed, n_jobs=1
    )
    return forest.fit(x, y)
