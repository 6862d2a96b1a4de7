"""Models of measured features: logistic regression and trees, fitted by scikit-learn, kept as tensors.

What scikit-learn fits becomes buffers of a torch module, so that the model is saved, loaded, evaluated, calibrated and
served like any network, without a pickle. The fit itself is the strategy ``scikit-learn``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from isocenter.errors import PlanError
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.measured_fits import (
    choose_penalty,
    fit_boosted,
    fit_forest,
    fit_logistic,
    fit_temperature,
    folds_of,
)
from isocenter.networks.trees import Trees
from isocenter.plan import InputSpec, NetworkSpec, Options, read_options

__all__ = ["Measured", "MeasuredOptions"]

NEVER = -40.0
"""Logit of an answer that no training case had."""
LEAST = 1e-3
"""Probability that a forest gives at least: no logarithm of nothing."""


class MeasuredOptions(Options):
    """Options of ``measured`` in a plan.

    Attributes:
        model: ``"logistic"`` regression with a squared penalty, a random ``"forest"``, or ``"boosted"`` trees.
        penalty: One over scikit-learn's ``C``; chosen by cross-validation among the training cases where ``None``.
        trees: Of a forest; rounds of boosting.
        depth: Of the trees.
        calibrate: Divide logits by a temperature that is cross-fitted among the training cases: each is answered by a
            model that was fitted without it (with the same penalty), and the temperature makes these answers most
            probable.
    """

    model: Literal["logistic", "forest", "boosted"] = "logistic"
    penalty: float | None = Field(default=None, gt=0)
    trees: int = Field(default=200, ge=1, le=5000)
    depth: int = Field(default=4, ge=1, le=12)
    calibrate: bool = True


@network("measured")
def build_measured(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> Measured:
    """Build from a plan.

    Raises:
        PlanError: Unknown options, no vector among the inputs, or a head that is not global.
    """
    options = read_options(MeasuredOptions, spec.options, where="network.options", owner=spec.name)
    return Measured(options, inputs, heads)


@dataclass(frozen=True)
class _Fitting:
    exclusive: bool
    seed: int
    penalties: Sequence[float] = ()

    def columns(self, y: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Questions of their own: one, or one an answer."""
        return [y] if self.exclusive else list(y.T)


class Measured(nn.Module):
    """See the module's text; images among the inputs are not looked at.

    Before it is fitted every answer is equally probable.

    Attributes:
        explains: What `contributions` are parts of: ``"log-odds"`` or, of a forest, ``"probability"``.
    """

    weight: Tensor
    bias: Tensor
    temperature: Tensor

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
        self.explains = "probability" if options.model == "forest" else "log-odds"
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("bias", torch.zeros(self.answers))
        if options.model == "logistic":
            self.register_buffer("weight", torch.zeros(self.answers, self.features))
        elif options.model == "forest":
            self.trees = Trees(options.trees, options.depth, self.answers, start=1 / self.answers)
        else:
            self.trees = Trees(options.trees * self.answers, options.depth, self.answers)

    def vector(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """``(batch, feature)``."""
        return torch.cat([inputs[name].flatten(1) for name in self.names], 1)

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `isocenter.networks.contract`: logits of the answers."""
        with torch.autocast(next(iter(inputs.values())).device.type, enabled=False):
            return {self.head: self._logits(self.vector(inputs).float()) / self.temperature}

    def _logits(self, x: Tensor) -> Tensor:
        if self.options.model == "logistic":
            return x @ self.weight.T + self.bias
        if self.options.model == "forest":
            share: Tensor = self.trees(x).mean(1)
            return share.clamp_min(LEAST).log()
        total: Tensor = self.trees(x).sum(1)
        return total + self.bias

    def contributions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What each feature adds to each answer against an average case, ``(batch, answer, feature)``.

        Shapley values: of logits, where features are independent (logistic regression: weight times value, the features
        being standardised); of logits, as TreeSHAP says (boosted trees); of probabilities before calibration (forest).

        Args:
            inputs: As for `forward`.
        """
        x = self.vector(inputs).float()
        if self.options.model == "logistic":
            return x[:, None] * self.weight / self.temperature
        found = torch.stack([self.trees.contributions(case, self.features) for case in x])
        return found / len(self.trees.feature) if self.options.model == "forest" else found / self.temperature

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64], *, exclusive: bool, seed: int) -> None:
        """Fit by scikit-learn; classes weigh as if each were equally frequent.

        Args:
            x: ``(case, feature)``, standardised.
            y: ``(case,)`` numbers of answers, or ``(case, answer)`` of 0 and 1 where several may hold.
            exclusive: Exactly one answer holds.
            seed: Of trees, and of the folds by which penalty and temperature are chosen.

        Raises:
            PlanError: Trees cannot answer questions with several answers here.
        """
        if self.options.model != "logistic" and not exclusive:
            raise PlanError(
                f"network.options.model: {self.options.model!r} answers exclusive questions; take model 'logistic'"
            )
        fitting = _Fitting(exclusive, seed)
        if self.options.model == "logistic":
            columns, given = fitting.columns(y), self.options.penalty
            fitting = _Fitting(exclusive, seed, [given or choose_penalty(x, column, seed) for column in columns])
        self.temperature.fill_(self._cross_fitted(x, y, fitting) if self.options.calibrate else 1.0)
        self._learn(x, y, fitting)

    def _cross_fitted(self, x: NDArray[np.float32], y: NDArray[np.int64], fitting: _Fitting) -> float:
        held = np.zeros((len(x), self.answers))
        folds = folds_of(y, fitting.seed)
        for train, test in folds:
            other = copy.deepcopy(self)
            other._learn(x[train], y[train], fitting)
            held[test] = other._logits(torch.from_numpy(x[test]).float()).double().numpy()
        return fit_temperature(held, y, exclusive=fitting.exclusive) if folds else 1.0

    def _learn(self, x: NDArray[np.float32], y: NDArray[np.int64], fitting: _Fitting) -> None:
        if self.options.model == "forest":
            self._take_forest(x, y, fitting.seed)
        elif self.options.model == "boosted":
            self._take_boosted(x, y, fitting.seed)
        else:
            self._take_logistic(x, y, fitting)

    def _take_logistic(self, x: NDArray[np.float32], y: NDArray[np.int64], fitting: _Fitting) -> None:
        exclusive = fitting.exclusive
        weight, bias = np.zeros((self.answers, self.features)), np.full(self.answers, NEVER if exclusive else 0.0)
        for k, (column, penalty) in enumerate(zip(fitting.columns(y), fitting.penalties, strict=True)):
            answers, rows, offsets = fit_logistic(penalty, x, column)
            at = answers if exclusive else [k]
            weight[at], bias[at] = (rows, offsets) if exclusive else (rows[-1:], offsets[-1:])
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))

    def _take_forest(self, x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> None:
        forest = fit_forest(self.options.trees, self.options.depth, x, y, seed)
        for number, grown in enumerate(forest.estimators_):
            counts = grown.tree_.value[:, 0]
            shares = np.zeros((len(counts), self.answers))
            shares[:, forest.classes_.astype(int)] = counts / counts.sum(1, keepdims=True)
            self.trees.take(number, grown.tree_, shares)

    def _take_boosted(self, x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> None:
        self.bias.fill_(NEVER)
        there = sorted({int(v) for v in y})
        if len(there) == 1:
            self.bias[there[0]] = 0.0
            return
        boosted: Any = fit_boosted(self.options.trees, self.options.depth, x, y, seed)
        columns = there if len(there) > 2 else there[1:]
        for stage, grown in enumerate(boosted.estimators_):
            for column, tree in zip(columns, (g.tree_ for g in grown), strict=True):
                values = np.zeros((tree.node_count, self.answers))
                values[:, column] = boosted.learning_rate * tree.value[:, 0, 0]
                self.trees.take(stage * self.answers + column, tree, values)
        self.bias[there] = 0.0  # and what the first case has beside its trees
        first = torch.from_numpy(x[:1]).float()
        rest = np.atleast_2d(boosted.decision_function(x[:1]).T).T - self._logits(first)[:, columns].numpy()
        self.bias[columns] = torch.from_numpy(rest[0]).float()
