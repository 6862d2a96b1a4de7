"""The verb `search`: try plans against the plan by rules, within limits of latency and memory, and write the best."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

from isocenter.data import Dataset, Splits
from isocenter.errors import ConfigError, SplitError
from isocenter.io.files import read_json, write_json
from isocenter.plan import dump_plan, read_gigabytes, read_seconds, write_plan
from isocenter.regimes import Limits, Search, SearchRun, SearchSpace, Trial, afford
from isocenter.regimes.proposals import import_optuna
from isocenter.workflow.bench import Desk
from isocenter.workflow.planning import PlanOptions, open_dataset, split_dataset, study
from isocenter.workflow.progress import Progress
from isocenter.workflow.variants import Variants
from isocenter.workflow.workplace import Workplace

__all__ = ["SearchOptions", "search", "table_of"]

log = logging.getLogger(__name__)
FILLED = 0.9
"""Share of a budget that is planned for; other plans may cost more than the plan by rules."""


class SearchOptions(PlanOptions, total=False):
    """What a search is asked for, beside what a plan is asked for.

    ``network`` and ``dimensions`` of a plan fix them; ``settings`` hold in every trial.

    Attributes:
        budget: Wall time of the whole search, as ``"60min"``; becomes a number of trials and steps.
        trials: To be trained; with ``budget`` only steps follow from the time.
        steps: Of trials that go all the way; those of the plan by rules at most, where ``None``.
        latency: Highest time to predict a prepared case on this machine, as ``"0.5s"``.
        memory: Highest memory in steps of training, as ``"4GB"``.
        space: Values to try by key, which replace those that are tried by default: a mapping, ``"key=v1,v2"`` texts, or
            the path of a YAML file.
        sampler: ``"tpe"`` by default, or ``"random"``.
        seed: Of the sampler.
        overwrite: Replace an existing plan.
    """

    trials: int | None
    steps: int | None
    latency: str | float | None
    space: SearchSpace | Mapping[str, Sequence[Any]] | Sequence[str] | Path | None
    sampler: Literal["tpe", "random"]
    seed: int
    overwrite: bool


def search(
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    splits: str | Path | Splits | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    **options: Unpack[SearchOptions],
) -> SearchRun:
    """Search for a plan that beats the plan by rules, and write it, or the plan by rules where none is shown to.

    Trials are trained on ``train`` and compared on ``val``; ``test`` is not touched. Plans that take longer or more
    memory on this machine than is allowed are not trained. While it runs, its state lies in ``<out>.search``.

    Args:
        dataset: A dataset, or the path of one.
        out: Plan to write; all trials are told in ``<name>.search.json`` beside it.
        splits: See `Dataset.read`.
        resume: Go on with an interrupted search of the same kind.
        device: Where trials are measured and trained: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: Told how far it is.
        options: See `SearchOptions` and `PlanOptions`; either ``budget`` or ``trials`` is needed.

    Raises:
        ConfigError: No budget and no trials, or a value that there is none of.
        PlanError: No plan keeps to the limits, or too little time for two trials.
        SplitError: No validation cases.
        MissingExtraError: The extra ``tune`` is not installed.
        StoppedError: Ctrl-C or SIGTERM; ``resume`` goes on.
    """
    began = time.perf_counter()
    asked = _Asked.of(options)
    file = Path(out)
    if file.is_dir() or (file.exists() and not options.get("overwrite", False)):
        raise ConfigError(f"{file}: is there already; give another name for the plan, or overwrite it")
    import_optuna()
    whole = split_dataset(open_dataset(dataset, splits=splits, progress=progress))
    if not (whole.splits and whole.splits.get("val")):
        raise SplitError(f"dataset {whole.name}: has no part 'val'; plans are compared on validation cases")
    said: Any = {k: v for k, v in options.items() if k in PlanOptions.__annotations__}
    settings = options.get("settings", ())
    said["settings"] = dict(settings) if isinstance(settings, Mapping) else tuple(settings)
    studied = study(whole, progress=progress, **said)
    if studied.plan.training.strategy == "scikit-learn":
        raise ConfigError(f"network {studied.plan.network.name!r}: is fitted at once; there is nothing to search")
    variants = Variants(studied, said["settings"])
    fixed = [
        f"network.{k}" for k, v in (("name", options.get("network")), ("dimensions", options.get("dimensions"))) if v
    ]
    space = variants.space(asked.space, fixed=fixed)
    place = Workplace(file.with_name(f"{file.name}.search"))
    record = _Record(place, asked.facts(space, variants))
    with place.cleared_unless_of_use(record.has_rungs):
        if not resume:
            place.begin_anew()
        desk = Desk(
            variants, studied.dataset, place, Path(options.get("cache") or place.cache), device, began, progress,
            asked.seconds,
        )  # fmt: skip
        found = record.run(asked, desk, space, progress)
    write_json(table_of(file), found.facts() | {"space": space.model_dump(mode="json")["choices"]})
    write_plan(found.plan, file)
    place.clear()
    return found


def table_of(plan: str | Path) -> Path:
    """File that tells the trials of a plan that was searched.

    Example:
        >>> table_of("plans/heart.yaml").as_posix()
        'plans/heart.search.json'
    """
    return Path(plan).with_name(f"{Path(plan).stem}.search.json")


@dataclass(frozen=True)
class _Asked:
    """What a person said, read and checked."""

    seconds: float | None
    trials: int | None
    steps: int | None
    limits: Limits
    space: SearchSpace
    sampler: Literal["tpe", "random"]
    seed: int

    @staticmethod
    def of(options: SearchOptions) -> _Asked:
        budget, latency, memory = options.get("budget"), options.get("latency"), options.get("memory")
        trials, steps, sampler = options.get("trials"), options.get("steps"), options.get("sampler", "tpe")
        if budget is None and trials is None:
            raise ConfigError("a search needs an end: give a budget of time, as 60min, or a number of trials, as 12")
        if trials is not None and trials < 2:
            raise ConfigError(f"trials {trials}: at least 2 are compared, the first is the plan by rules")
        if steps is not None and steps < 1:
            raise ConfigError(f"steps {steps}: a trial has at least 1")
        if sampler not in ("tpe", "random"):
            raise ConfigError(f"sampler {sampler!r}: there are tpe, random")
        limits = Limits(
            latency_s=None if latency is None else read_seconds(latency, "latency", "0.5s"),
            memory_gb=None if memory is None else read_gigabytes(memory),
        )
        seconds = None if budget is None else read_seconds(budget)
        return _Asked(seconds, trials, steps, limits, _space(options.get("space")), sampler, options.get("seed", 0))

    def facts(self, space: SearchSpace, variants: Variants) -> dict[str, Any]:
        """What an interrupted search must have in common with the one that goes on."""
        parts = {n: sorted(ids) for n, ids in (variants.studied.dataset.splits or {}).items() if n in ("train", "val")}
        return {
            "asked": [self.seconds, self.trials, self.steps, self.sampler, self.seed],
            "limits": self.limits.model_dump(mode="json"),
            "space": space.model_dump(mode="json"),
            "plan": hashlib.sha256(f"{dump_plan(variants.plan)}{parts}".encode()).hexdigest(),
        }


def _space(said: SearchSpace | Mapping[str, Sequence[Any]] | Sequence[str] | Path | None) -> SearchSpace:
    if isinstance(said, SearchSpace):
        return said
    if isinstance(said, Mapping):
        return SearchSpace.of(said)
    return SearchSpace.read(said) if isinstance(said, str | Path) else SearchSpace.of_words(said or ())


@dataclass
class _Record:
    """What was done, on disk after every rung.

    Attributes:
        place: Of the search.
        facts: That say which search it is.
    """

    place: Workplace
    facts: Mapping[str, Any]

    def run(self, asked: _Asked, desk: Desk, space: SearchSpace, progress: Progress | None) -> SearchRun:
        first = desk.variants.first(space)
        kept = self._kept()
        if kept:
            desk.began -= float(kept["seconds"])
            trials, size = [Trial.model_validate(t) for t in kept["trials"]], tuple(kept["size"])
        else:
            trials, size = self._begun(asked, desk, space)

        def keep(now: Sequence[Trial]) -> None:
            rows = [t.model_dump(mode="json") for t in (*now, *trials[len(now) :])]
            write_json(self._file, {**self.facts, "size": size, "seconds": desk.spent(), "trials": rows})

        keep(trials)
        regime = Search(trials=size[0], steps=size[1], limits=asked.limits, sampler=asked.sampler, seed=asked.seed)
        return regime.run(desk, space, first, kept=trials, keep=keep, progress=progress)

    def has_rungs(self) -> bool:
        """Whether a trial got anywhere; its own checkpoints are gone once it has ended."""
        return self._file.exists() and any(trial["rungs"] for trial in read_json(self._file)["trials"])

    @property
    def _file(self) -> Path:
        return self.place.root / "search.json"

    def _kept(self) -> Any:
        if not self._file.exists():
            return None
        kept = read_json(self._file)
        for key, value in self.facts.items():
            if kept.get(key) != value:
                raise ConfigError(
                    f"{self.place.root}: was begun with another {key}; ask for the same, or begin anew without --resume"
                )
        return kept

    def _begun(self, asked: _Asked, desk: Desk, space: SearchSpace) -> tuple[list[Trial], tuple[int, int]]:
        """Measure the plan by rules, and freeze how many trials and steps there will be."""
        first = desk.variants.first(space)
        plan = desk.derive(first)
        most = asked.steps or plan.training.steps
        began = desk.spent()
        footing = desk.measure(plan)
        spent = desk.spent() - began
        trial = Trial(number=0, choice=dict(first), footing=footing, seconds=spent)
        if asked.seconds is None:
            return [trial], (asked.trials or 2, most)
        measuring = max(0.0, spent - desk.seconds_prepare)
        # the other dimensions prepare their cases in a way of their own
        again = desk.seconds_prepare if len(space.choices.get("network.dimensions", ())) > 1 else 0.0
        left = FILLED * asked.seconds - desk.spent() - again
        size = afford(left, desk.costs(plan, footing, measuring), most_steps=most, trials=asked.trials)
        log.info("a budget of %g s is for %d trials of at most %d steps", asked.seconds, *size)
        return [trial], size
