"""Cross-validation: every patient is predicted once by a network that did not learn from him or her."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isocenter.data import Dataset, Splits, kfold
from isocenter.data.draw import StratifyBy
from isocenter.errors import DatasetError, IsocenterError
from isocenter.inference import Engine
from isocenter.metrics import summarise
from isocenter.pipeline import Model, Pipeline
from isocenter.plan import Plan
from isocenter.regimes.cleanings import CleaningMeasures, measure_cleanings
from isocenter.regimes.components import ComponentChoice, choose_components, cleaning_by_hand
from isocenter.regimes.contract import Fit, FoldFit, Progress, RegimeRun, regime

__all__ = ["ABOUT", "CrossValidation"]

log = logging.getLogger(__name__)

ABOUT = {
    "raw": "Every case was predicted by the one network of the folds that did not learn from its patient, and not"
    " cleaned. The model is the mean of these networks; no case is left to judge it by.",
    "cleaned": "The same predictions, cleaned as the model does it. What is cleaned was chosen by these very cases, so"
    " the figures flatter.",
    "nested": "The same predictions, each fold cleaned as the other folds chose.",
}
"""What the figures of each kind mean; stands beside them."""

Fold = Mapping[str, CleaningMeasures]


@regime("cross-validation")
@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """Fits once a fold; the model is the mean of all networks, cleaned where the held-out cases gain by it.

    Attributes:
        folds: At least 2.
        seed: Of the folds.
        stratify_by: See `isocenter.data.kfold`.

    Reference:
        Stone, *Cross-validatory choice and assessment of statistical predictions*, J R Stat Soc B 36 (1974).
    """

    folds: int = 5
    seed: int = 0
    stratify_by: StratifyBy = "auto"

    def run(self, fit: Fit, data: Dataset, *, device: str = "cpu", progress: Progress | None = None) -> RegimeRun:
        """See `isocenter.regimes.contract.Regime`.

        All fits must use one plan, but for seed and steps. A plan that cleans, or whose reasons say that a person
        decided what is cleaned, is kept to: nothing is chosen then.

        Returns:
            The ensemble, and as figures: ``raw``, ``cleaned`` and ``nested``, each as `isocenter.metrics.summarise`
            gives them, by fold under ``groups``, while ``about`` says what they mean; ``components``: what is cleaned,
            and what each cleaning gains; ``components_without_fold``: what the other folds chose; ``left_out``: cases
            that could not be prepared, predicted or measured; ``folds``: the parts of each.

        Raises:
            SplitError: Too few patients.
            DatasetError: A fit calls a case held out that it learned from, or no case could be measured.
            ConfigError: The fits used different plans.
        """
        splits = kfold(data, self.folds, seed=self.seed, stratify_by=self.stratify_by)
        models: list[Model] = []
        folds: list[Fold] = []
        problems: list[str] = []
        for number, split in enumerate(splits):
            done = fit(data.with_splits(split), number)
            what = f"predicting held-out cases of fold {number + 1} of {len(splits)}"
            cases: dict[str, CleaningMeasures] = {}
            unseen = set(split["val"])
            for k, (case, found) in enumerate(_predict(done, unseen, number, device), start=1):
                if isinstance(found, CleaningMeasures):
                    cases[case] = found
                else:
                    problems.append(found)
                if progress is not None:
                    progress(what, k, len(done.held))
            problems += [f"case {case}: could not be prepared" for case in sorted(unseen)]
            folds.append(cases)
            models.append(done.model)
        return _made(models, folds, splits, problems, seed=self.seed)


def _predict(done: FoldFit, unseen: set[str], number: int, device: str) -> Iterator[tuple[str, CleaningMeasures | str]]:
    """By case: its figures, or why there are none; ``unseen``, the cases to come, loses those that came."""
    pipeline = Pipeline(_uncleaned(done.model.plan))
    engine = Engine(pipeline, done.model.network.to(device), done.model.calibration, device=device)
    for sample in done.held:
        case = sample.case
        if case.id not in unseen:
            raise DatasetError(
                f"fold {number}: case {case.id} is given as held out, but is not in the fold's part 'val', or is twice"
            )
        unseen.remove(case.id)
        try:
            found = measure_cleanings(pipeline.task, engine.predict(sample), case)
        except IsocenterError as error:
            log.warning("left out: %s", error)
            yield case.id, str(error)
        else:
            yield case.id, found
    done.model.network.cpu()


def _uncleaned(plan: Plan) -> Plan:
    spec = plan.inference.model_copy(update={"largest_together": False, "largest_component": ()})
    return plan.model_copy(update={"inference": spec})


def _made(
    models: Sequence[Model], folds: Sequence[Fold], splits: Sequence[Splits], problems: Sequence[str], *, seed: int
) -> RegimeRun:
    """The ensemble with what the held-out cases chose, and their figures."""
    every = {case: found for fold in folds for case, found in fold.items()}
    if not every:
        raise DatasetError(f"no held-out case could be measured; the first: {problems[0]}")
    ensemble = Model.of_members(models)
    by_hand = cleaning_by_hand(ensemble.plan)
    choice = by_hand or choose_components(list(every.values()), seed=seed)
    nested = [by_hand or choose_components(_but(folds, k), seed=seed) for k in range(len(folds))]
    plan = choice.apply(ensemble.plan, f"the {len(every)} held-out cases of a {len(folds)}-fold cross-validation")
    figures = {
        "about": ABOUT,
        **_summaries(folds, choice, nested),
        "components": {**choice.facts(), "by_hand": by_hand is not None},
        "components_without_fold": [{k: c.facts()[k] for k in ("together", "structures")} for c in nested],
        "left_out": list(problems),
        "folds": [{part: list(ids) for part, ids in split.items()} for split in splits],
    }
    return RegimeRun(Model(plan, ensemble.network, ensemble.calibration, ensemble.manifest), figures)


def _but(folds: Sequence[Fold], without: int) -> list[CleaningMeasures]:
    return [found for k, fold in enumerate(folds) if k != without for found in fold.values()]


def _summaries(folds: Sequence[Fold], choice: ComponentChoice, nested: Sequence[ComponentChoice]) -> dict[str, Any]:
    """Figures of the predictions as they are, cleaned, and cleaned as the other folds chose."""
    groups = {"fold": {case: str(k) for k, fold in enumerate(folds) for case in fold}}

    def table(chosen: Sequence[ComponentChoice]) -> dict[str, Any]:
        pairs = [(c, found) for c, fold in zip(chosen, folds, strict=True) for found in fold.values()]
        rows = [m for c, found in pairs for m in found.under(together=c.together, structures=c.structures)]
        return summarise(rows, groups=groups)

    found = {"raw": table([ComponentChoice()] * len(folds))}
    for name, chosen in (("cleaned", [choice] * len(folds)), ("nested", nested)):
        cleans = any(c.together or c.structures for c in chosen)
        found[name] = table(chosen) if cleans else found["raw"]
    return found
