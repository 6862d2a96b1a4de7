"""Which choice comes next, and whether a trial goes on, by optuna; in memory, told again what was done before."""

from __future__ import annotations

import itertools
import json
import logging
import random
from typing import Any, Literal

from isocenter.errors import MissingExtraError
from isocenter.regimes.space import Choice, SearchSpace
from isocenter.regimes.trials import Trial

__all__ = ["Proposal", "Proposals", "Sampler", "import_optuna"]

Sampler = Literal["tpe", "random"]
REPEATS = 5
"""Of what was tried, in a row, before something else is insisted on."""
DRAWS = 100


def import_optuna() -> Any:
    """Optuna, which speaks through our logging.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("a search needs optuna: pip install 'isocenter[tune]'") from None
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(logging.WARNING)  # each trial is told by us
    return optuna


class Proposal:
    """A choice that is to be tried.

    Attributes:
        choice: Of the space.
    """

    def __init__(self, study: Any, trial: Any, choice: Choice, factor: int) -> None:
        self.choice = dict(choice)
        self._study, self._trial, self._factor, self._rungs = study, trial, factor, 0

    def goes_on(self, score: float) -> bool:
        """Whether a trial with this mean score at its next rung is among the best that came so far."""
        if self._trial is None:
            return True
        self._trial.report(score, self._factor**self._rungs)
        self._rungs += 1
        return not self._trial.should_prune()

    def close(self, done: Trial) -> None:
        """Tell what came of it; a trial without a score teaches to keep away."""
        if self._trial is None:
            return
        state = import_optuna().trial.TrialState
        if done.state == "finished":
            self._study.tell(self._trial, done.score)
        else:
            self._study.tell(self._trial, state=state.PRUNED)

    def repeat(self, done: Trial) -> None:
        """The very choice was tried before."""
        if self._trial is None:
            return
        for rung, found in enumerate(done.rungs):
            self._trial.report(found.mean, self._factor**rung)
        self.close(done)


class Proposals:
    """Proposes choices; the same seed and the same answers give the same choices.

    Args:
        space: To choose from.
        first: Choice of the first trial; optuna learns from it where it is in the space.
        sampler: ``"tpe"`` (tree-structured Parzen estimator) or ``"random"``.
        factor: Of successive halving.
        startup: First proposals that are drawn at random by ``"tpe"`` too.
        seed: Of the sampler.

    Raises:
        MissingExtraError: The extra ``tune`` is not installed.

    Example:
        >>> found = Proposals(SearchSpace.of({"width": [0.5, 1.0]}), {"width": 1.0}, factor=3)
        >>> found.next().choice
        {'width': 1.0}

    Reference:
        Bergstra et al., *Algorithms for hyper-parameter optimization*, NeurIPS 2011.
    """

    def __init__(
        self, space: SearchSpace, first: Choice, *, sampler: Sampler = "tpe", factor: int = 3, startup: int = 5,
        seed: int = 0,
    ) -> None:  # fmt: skip
        optuna = import_optuna()
        kind = optuna.samplers
        self._factor, self._first, self._seed = factor, dict(first), seed
        self._seen: set[tuple[str, ...]] = set()
        self._repeats = 0
        self._study = optuna.create_study(
            direction="maximize",
            sampler=kind.TPESampler(seed=seed, n_startup_trials=startup)
            if sampler == "tpe"
            else kind.RandomSampler(seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor),
        )
        # optuna's categories are plain numbers or words
        self._values = {key: {_word(v): v for v in values} for key, values in space.choices.items()}
        self._kinds = {k: optuna.distributions.CategoricalDistribution(tuple(v)) for k, v in self._values.items()}
        words = {key: _word(value) for key, value in first.items()}
        self._outside = any(words.get(key) not in values for key, values in self._values.items())
        if not self._outside:
            self._study.enqueue_trial({key: words[key] for key in self._values})

    def next(self) -> Proposal | None:
        """What to try now: not seen before, unless optuna insists a few times; ``None`` when everything was."""
        if self._outside:
            self._outside = False
            return Proposal(self._study, None, self._first, self._factor)
        if self._repeats >= REPEATS and not self._insist():
            return None
        trial = self._study.ask(self._kinds)
        words = tuple(trial.params[key] for key in self._values)
        self._repeats = self._repeats + 1 if words in self._seen else 0
        self._seen.add(words)
        choice = {key: self._values[key][word] for key, word in trial.params.items()}
        return Proposal(self._study, trial, choice, self._factor)

    def _insist(self) -> bool:
        """Have what was not seen proposed next, by chance in a large space; whether there is any."""
        chance = random.Random(f"{self._seed} {len(self._seen)}")  # noqa: S311 no secret
        rows = [list(values) for values in self._values.values()]
        drawn = (tuple(chance.choice(row) for row in rows) for _ in range(DRAWS))
        fresh = next(
            (words for words in itertools.chain(drawn, itertools.product(*rows)) if words not in self._seen), None
        )
        if fresh is not None:
            self._study.enqueue_trial(dict(zip(self._values, fresh, strict=True)))
        return fresh is not None


def _word(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
