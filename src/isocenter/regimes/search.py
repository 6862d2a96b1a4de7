"""Search: plans are tried against the plan by rules, within limits, the hopeless ones for a few steps only.

Unlike other regimes it fits plans that differ, and goes on with fits in rungs: it is lent a `Bench`, and gives a plan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isocenter.errors import ModelIntegrityError, PlanError, StoppedError, ValueRangeError
from isocenter.plan import Plan, dump_plan
from isocenter.regimes.contract import Progress
from isocenter.regimes.halving import expected_steps, rungs_of
from isocenter.regimes.outcome import SearchRun, made
from isocenter.regimes.proposals import Proposal, Proposals, Sampler
from isocenter.regimes.space import Choice, SearchSpace
from isocenter.regimes.trials import Bench, Limits, Rung, Trial
from isocenter.training import hear_stop

__all__ = ["Search"]

log = logging.getLogger(__name__)

Keep = Callable[[Sequence[Trial]], None]
"""Told of all trials whenever one of them got further."""

MEASURED = 4
"""Candidates that are measured for one that is trained, at most."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Tries plans of a space; the first is always the plan by rules, which goes all the way.

    Attributes:
        trials: To be trained.
        steps: Of those that go all the way.
        limits: Plans that break them are not trained.
        sampler: See `Proposals`.
        factor: Of successive halving: one of so many goes on.
        seed: Of the sampler; the seed of fits is the plan's.
    """

    trials: int
    steps: int
    limits: Limits = field(default_factory=Limits)
    sampler: Sampler = "tpe"
    factor: int = 3
    seed: int = 0

    def run(
        self, bench: Bench, space: SearchSpace, first: Choice, *, kept: Sequence[Trial] = (), keep: Keep | None = None,
        progress: Progress | None = None,
    ) -> SearchRun:  # fmt: skip
        """Try, and choose: the best plan by its mean score, if an interval shows that it beats the plan by rules.

        Without limits of time everything follows from the seed.

        Args:
            bench: See `Bench`.
            space: To choose from.
            first: Choice that stands for the plan by rules.
            kept: Trials of an interrupted search, in their order; the last may be unfinished.
            keep: Told of all trials so far.
            progress: Told of steps done, and of steps expected in all.

        Raises:
            PlanError: No plan by rules, or none keeps to the limits.
            ModelIntegrityError: ``kept`` is not what this search would have tried.
            MissingExtraError: The extra ``tune`` is not installed.
            StoppedError: Ctrl-C or SIGTERM; what was reached is kept.
        """
        with hear_stop() as stopped:
            return _Running(self, bench, progress, list(kept), keep, stopped).run(space, first)


@dataclass
class _Running:
    search: Search
    bench: Bench
    progress: Progress | None
    kept: list[Trial]
    keep: Keep | None
    stopped: Callable[[], bool]
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rungs = rungs_of(self.search.steps, self.search.factor)

    def run(self, space: SearchSpace, first: Choice) -> SearchRun:
        search, tried = self.search, dict[str, int]()
        proposals = Proposals(
            space, first, sampler=search.sampler, factor=search.factor, startup=max(4, search.trials // 3),
            seed=search.seed,
        )  # fmt: skip
        while self._wants_more() and (proposal := proposals.next()) is not None:
            plan, why = self._derived(proposal)
            key = _key(plan) if plan is not None else repr(sorted(proposal.choice.items()))
            if key in tried:
                proposal.repeat(self.trials[tried[key]])
                continue
            if self.bench.over() and len(self.trials) >= len(self.kept):
                break
            tried[key] = len(self.trials)
            self.trials.append(self._begun(proposal))
            self._tried(proposal, plan, why)
            proposal.close(self.trials[-1])
            log.info("trial %d: %s", self.trials[-1].number, self.trials[-1].verdict)
        return made(self.trials, self.bench, self.search.limits, self.search.steps)

    def _wants_more(self) -> bool:
        trained = sum(bool(t.rungs) for t in self.trials)
        return trained < self.search.trials and len(self.trials) < MEASURED * self.search.trials

    def _derived(self, proposal: Proposal) -> tuple[Plan | None, str]:
        try:
            return self.bench.derive(proposal.choice), ""
        except PlanError as error:
            if not self.trials:
                raise
            return None, str(error)

    def _begun(self, proposal: Proposal) -> Trial:
        number = len(self.trials)
        if number >= len(self.kept):
            return Trial(number=number, choice=proposal.choice)
        before = self.kept[number]
        if before.choice != proposal.choice:
            raise ModelIntegrityError(
                f"trial {number} of the interrupted search tried {before.choice}, now it would be {proposal.choice};"
                " begin anew, without --resume"
            )
        return before

    def _tried(self, proposal: Proposal, plan: Plan | None, why: str) -> None:
        """Measure, train rung by rung; what was done before is only told again."""
        done = self.trials[-1].state != "running"
        spent = self.bench.spent() - self.trials[-1].seconds
        if plan is None:
            self._set(state="rejected", verdict=f"no such plan: {why}")
            return
        try:
            if not done and not self._measured(plan):
                return
            for k, steps in enumerate(self.rungs):
                if not self._reached(plan, k, steps, done=done):
                    return
                goes_on = proposal.goes_on(self.trials[-1].rungs[k].mean)
                if not goes_on and len(self.trials) > 1 and steps < self.rungs[-1]:
                    self._set(state="pruned", verdict=f"others are better after {steps} steps")
                    return
            self._set(state="finished", verdict=f"trained for {self.search.steps} steps")
        except (PlanError, ValueRangeError) as error:
            if not self.trials[-1].number:
                raise
            self._set(state="rejected" if isinstance(error, PlanError) else "failed", verdict=str(error))
        finally:
            if not done:
                self._set(seconds=self.bench.spent() - spent)

    def _measured(self, plan: Plan) -> bool:
        """Whether it keeps to the limits."""
        if self.trials[-1].footing is None:
            self._set(footing=self.bench.measure(plan))
        footing = self.trials[-1].footing
        broken = self.search.limits.broken_by(footing) if footing is not None else ""
        if broken:
            self._set(state="rejected", verdict=broken)
        return not broken

    def _reached(self, plan: Plan, k: int, steps: int, *, done: bool) -> bool:
        """Whether the trial stands at this rung, after training where it is to come."""
        here = self.trials[-1]
        if len(here.rungs) <= k:
            if done:
                return False
            short = plan.training.model_copy(update={"steps": self.search.steps, "validations": 0})
            rung: Rung = self.bench.train(plan.model_copy(update={"training": short}), here.number, steps)
            self._set(rungs=(*here.rungs, rung))
            if self.stopped():
                raise StoppedError(
                    f"stopped after step {rung.steps} of trial {here.number}; it is kept: go on from it with --resume"
                )
        if self.trials[-1].rungs[k].steps < steps:
            self._set(state="cut", verdict=f"the time ran out after {self.trials[-1].steps} of {steps} steps")
            return False
        self._tell()
        return True

    def _set(self, **what: Any) -> None:
        before = self.trials[-1]
        self.trials[-1] = before.model_copy(update=what)
        if self.keep is not None and self.trials[-1] != before:
            self.keep(self.trials)

    def _tell(self) -> None:
        if self.progress is None:
            return
        done = sum(t.steps for t in self.trials)
        share = expected_steps(self.search.trials, self.rungs, self.search.factor)[0] / self.search.trials
        left = self.search.trials - sum(bool(t.rungs) for t in self.trials)
        self.progress("searching", done, round(done + max(left, 0) * share))


def _key(plan: Plan) -> str:
    return dump_plan(plan.model_copy(update={"reasons": {}}))
