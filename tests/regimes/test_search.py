"""Searches on a bench without fits: what is tried, for how long, what is chosen, and that nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import stats

from isocenter.errors import ConfigError, ModelIntegrityError, PlanError, StoppedError, ValueRangeError
from isocenter.plan import Plan, set_values
from isocenter.regimes import Costs, Footing, Limits, Rung, Search, SearchRun, SearchSpace, Trial, afford
from isocenter.regimes.halving import expected_steps, rungs_of
from isocenter.regimes.trials import gain, spread

PLAN = Plan.model_validate({
    "inputs": [{"name": "ct"}], "preprocess": {"reference": "ct"},
    "network": {"options": {"strides": [[1, 1, 1], [2, 2, 2]], "channels": [8, 16]}},
    "training": {"steps": 5000, "validations": 4},
})  # fmt: skip
RATE = "training.learning_rate"
FIRST = {"width": 1.0, RATE: 2e-3}
SPACE = SearchSpace.of({"width": [0.5, 0.75, 1.0, 1.25, 1.5, 2.0], RATE: [5e-4, 1e-3, 2e-3, 4e-3]})
CASES = 12


def quality(choice: Mapping[str, Any]) -> float:
    """Best where narrow and slow; the plan by rules is in the middle."""
    return float(0.8 - 0.1 * choice["width"] - 20 * choice[RATE])


@dataclass
class Desk:
    """Knows at once what a fit would come to."""

    good: Callable[[Mapping[str, Any]], float] = quality
    noise: float = 0.0
    allowed: float = float("inf")
    stop_at: int | None = None
    clock: float = 0.0
    trained: list[tuple[int, int]] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    @property
    def patients(self) -> Mapping[str, str]:
        return {f"c{k}": f"p{k}" for k in range(CASES)}

    def derive(self, choice: Mapping[str, Any]) -> Plan:
        if choice["width"] == 1.25:
            raise PlanError("odd channels")
        channels = [int(c * choice["width"]) for c in (8, 16)]
        changed = set_values(PLAN, {"network.options.channels": channels, RATE: choice[RATE]})
        return changed.model_copy(update={"reasons": {"training.steps": "enough"}})

    def measure(self, plan: Plan) -> Footing:
        width = plan.network.options["channels"][0] / 8
        return Footing(latency_s=0.1 * width, memory_gb=width**2, seconds_per_step=0.01)

    def train(self, plan: Plan, number: int, steps: int) -> Rung:
        if self.stop_at is not None and len(self.trained) == self.stop_at:
            raise StoppedError("stopped")
        self.trained.append((number, steps))
        self.plans.append(plan)
        self.clock += 1
        choice = {"width": plan.network.options["channels"][0] / 8, RATE: plan.training.learning_rate}
        wobble = np.random.default_rng([number, 7]).normal(0, 1, CASES) * self.noise
        ease = np.linspace(-0.1, 0.1, CASES)  # some cases are easier, for every plan
        mean = self.good(choice) * (1 - 0.5 * np.exp(-steps / 30))
        scores = {f"c{k}": float(v) for k, v in enumerate(mean + ease + wobble)}
        return Rung(steps=steps // 2 if self.over() else steps, scores=scores, seconds=1.0)

    def spent(self) -> float:
        return self.clock

    def over(self) -> bool:
        return self.clock > self.allowed


def searched(desk: Desk, space: SearchSpace = SPACE, first: Mapping[str, Any] = FIRST, **options: Any) -> SearchRun:
    rest = {k: options.pop(k) for k in ("kept", "keep", "progress") if k in options}
    return Search(**({"trials": 9, "steps": 90} | options)).run(desk, space, first, **rest)


def told(run: SearchRun) -> Any:
    """What does not depend on the clock, as it comes back from a file."""
    rows = json.loads(json.dumps(run.rows))
    for row in rows:
        del row["seconds"]
        row["rungs"] = [{k: v for k, v in rung.items() if k != "seconds"} for rung in row["rungs"]]
    return rows


def test_the_plan_by_rules_is_first_and_goes_all_the_way_however_bad_it_is() -> None:
    for seed in range(3):
        desk = Desk(good=lambda choice: 0.1 if choice == FIRST else quality(choice))
        run = searched(desk, seed=seed)
        assert dict(run.trials[0].choice) == FIRST
        assert run.trials[0].state == "finished"
        assert [steps for number, steps in desk.trained if number == 0] == [10, 30, 90]
        assert all(p.training.steps == 90 and p.training.validations == 0 for p in desk.plans)


def test_a_better_plan_takes_its_place_and_says_what_the_search_cost() -> None:
    run = searched(Desk())
    best = max((t for t in run.trials if t.state == "finished"), key=lambda t: quality(t.choice))
    assert run.chosen == best.number != 0
    assert run.trials[best.number].verdict == "chosen; trained for 90 steps"
    assert run.plan.training.learning_rate == best.choice[RATE]
    assert run.plan.training.steps == 5000, "the steps of a fit are not those of the search"
    assert run.plan.reasons[RATE if best.choice[RATE] != 2e-3 else "network.options.channels"] == (
        f"trial {best.number} of a search over {len(run.trials)} plans"
    )
    assert run.plan.reasons["training.steps"] == "enough"
    assert run.plan.reasons["network"] == run.reason
    steps = sum(t.steps for t in run.trials)
    assert f"{steps} steps of training" in run.reason
    assert (run.cost.trained, run.cost.steps) == (9, steps)
    expected = quality(best.choice) - quality(FIRST)
    shown = run.rows[best.number]["gain"]
    assert shown["value"] == pytest.approx(expected * (1 - 0.5 * np.exp(-3)))
    assert shown["interval"][0] > 0


def test_what_is_not_shown_to_be_better_does_not_take_its_place() -> None:
    by_luck = 0
    for seed in range(4):
        run = searched(Desk(good=lambda choice: 0.5, noise=0.05), trials=12, seed=seed)
        others = [row["gain"] for row in run.rows[1:] if row["gain"]]
        by_luck += any(g["value"] > 0.01 for g in others)
        assert all(g["interval"][0] <= 0 for g in others)
        assert run.chosen == 0
    assert by_luck, "some are better by chance"
    assert run.plan.training == PLAN.training
    assert "none of" in run.reason
    assert "is kept" in run.reason


def test_limits_are_kept_to_before_anything_is_trained() -> None:
    desk = Desk()
    run = searched(desk, limits=Limits(latency_s=0.11, memory_gb=0.9), space=SPACE, first=FIRST | {"width": 0.75})
    wide = [t for t in run.trials if t.choice["width"] > 0.75]
    assert wide
    assert {t.state for t in wide} == {"rejected"}
    assert not {t.number for t in wide} & {number for number, _ in desk.trained}
    by_width = {t.choice["width"]: t.verdict for t in wide}
    assert by_width.get(2.0, "takes 0.2 s a case, more than 0.11 s") == "takes 0.2 s a case, more than 0.11 s"
    assert by_width.get(1.0, "takes 1 GB, more than 0.9 GB") == "takes 1 GB, more than 0.9 GB"
    assert by_width.get(1.25, "no such plan: odd channels") == "no such plan: odd channels"
    assert len(by_width) >= 2


def test_where_the_plan_by_rules_breaks_a_limit_the_best_within_is_chosen() -> None:
    run = searched(Desk(), limits=Limits(latency_s=0.08))
    assert run.trials[0].state == "rejected"
    assert run.trials[run.chosen].choice["width"] <= 0.75
    assert run.trials[run.chosen].score == max(t.score for t in run.trials if t.state == "finished" and t.score)
    assert "the plan by rules takes 0.1 s a case, more than 0.08 s" in run.reason
    with pytest.raises(PlanError, match=r"none of 24 plans keeps to them.*takes 0\.05 s a case, more than 0\.01 s"):
        searched(Desk(), limits=Limits(latency_s=0.01))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_trials_go_on_as_successive_halving_says(sampler: str) -> None:
    run = searched(Desk(noise=0.02), trials=20, steps=900, sampler=sampler, seed=4)
    there: dict[int, list[float]] = {}
    for trial in run.trials:
        for rung in trial.rungs:
            scores = there.setdefault(rung.steps, [])
            scores.append(rung.mean)
            enough = sorted(scores, reverse=True)[max(1, len(scores) // 3) - 1]
            went_on = trial.steps > rung.steps
            assert went_on == (rung.mean >= enough and rung.steps < 900), "in the best third of those so far"
    states = [t.state for t in run.trials if t.rungs]
    assert states.count("pruned") >= 10
    assert sum(t.steps for t in run.trials) < 0.5 * 20 * 900


def test_everything_follows_from_the_seed() -> None:
    one, same, other = (told(searched(Desk(noise=0.02), seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert [row["choice"] for row in one] != [row["choice"] for row in other]
    assert one[0] == other[0]


@settings(max_examples=10)
@given(stop_at=st.integers(0, 17), sampler=st.sampled_from(["tpe", "random"]))
def test_a_search_goes_on_where_it_was_stopped(stop_at: int, sampler: str) -> None:
    whole_desk = Desk(noise=0.02)
    whole = searched(whole_desk, sampler=sampler, trials=6)
    stop_at %= len(whole_desk.trained)
    kept: list[str] = []

    def keep(trials: Sequence[Trial]) -> None:
        kept[:] = [t.model_dump_json() for t in trials]

    first = Desk(noise=0.02, stop_at=stop_at)
    with pytest.raises(StoppedError):
        searched(first, sampler=sampler, trials=6, keep=keep)
    second = Desk(noise=0.02)
    run = searched(second, sampler=sampler, trials=6, kept=[Trial.model_validate_json(t) for t in kept])
    assert told(run) == told(whole)
    assert first.trained + second.trained == whole_desk.trained, "nothing is trained twice"
    assert (run.chosen, run.plan.network) == (whole.chosen, whole.plan.network)


def test_trials_of_another_search_are_not_gone_on_with() -> None:
    trials = searched(Desk()).trials
    with pytest.raises(ModelIntegrityError, match="trial 1 of the interrupted search tried"):
        searched(Desk(), kept=[trials[0], trials[2]])


def test_a_small_space_is_tried_once_and_the_search_ends() -> None:
    space = SearchSpace.of({"width": [0.5, 1.0], RATE: [1e-3, 2e-3]})
    run = searched(Desk(), space=space, trials=20)
    assert sorted((t.choice["width"], t.choice[RATE]) for t in run.trials) == [
        (0.5, 1e-3), (0.5, 2e-3), (1.0, 1e-3), (1.0, 2e-3),
    ]  # fmt: skip


def test_the_plan_by_rules_is_tried_even_where_the_space_is_without_it() -> None:
    run = searched(Desk(), space=SearchSpace.of({"width": [0.5, 0.75], RATE: [1e-3]}), trials=3)
    assert run.trials[0].choice["width"] == 1.0
    assert {t.choice["width"] for t in run.trials[1:]} == {0.5, 0.75}


def test_the_time_runs_out() -> None:
    run = searched(Desk(allowed=5.5), trials=9)
    assert run.trials[-1].state == "cut"
    assert run.trials[-1].verdict.startswith("the time ran out after")
    assert len(run.trials) < 9
    none = searched(Desk(allowed=1.5), trials=9)
    assert (none.chosen, len(none.trials), none.trials[0].state) == (0, 1, "cut")
    assert "the time ran out before the plan by rules was trained" in none.reason


def test_a_fit_that_fails_is_told_and_others_go_on() -> None:
    class Fragile(Desk):
        def train(self, plan: Plan, number: int, steps: int) -> Rung:
            if plan.training.learning_rate == 4e-3:
                raise ValueRangeError("step 3: the loss is not finite")
            return super().train(plan, number, steps)

    run = searched(Fragile(), trials=12)
    failed = [t for t in run.trials if t.choice[RATE] == 4e-3 and t.choice["width"] != 1.25]
    assert failed
    assert {(t.state, t.verdict) for t in failed} == {("failed", "step 3: the loss is not finite")}
    with pytest.raises(ValueRangeError):
        searched(Fragile(), first=FIRST | {RATE: 4e-3})


def test_progress_never_ends_before_the_search() -> None:
    said: list[tuple[int, int]] = []
    run = searched(Desk(), progress=lambda what, done, total: said.append((done, total)))
    assert all(done <= total for done, total in said)
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    assert said[-1][0] == run.cost.steps


def test_gains_are_what_a_paired_t_test_over_patients_says() -> None:
    rng = np.random.default_rng(0)
    tables = [{f"c{k}": float(v) for k, v in enumerate(rng.uniform(0, 1, 9))} for _ in range(2)]
    del tables[0]["c3"], tables[1]["c5"]
    one, other = (Trial(number=n, choice={}, rungs=(Rung(steps=1, scores=t, seconds=0),)) for n, t in enumerate(tables))
    patients = {f"c{k}": f"p{k // 2}" for k in range(9)}
    common = sorted(tables[0].keys() & tables[1].keys())
    means = [[np.mean([t[c] for c in common if patients[c] == p]) for p in sorted({patients[c] for c in common})]
             for t in tables]  # fmt: skip
    for among in (1, 10):
        found = gain(one, other, patients, among=among)
        low, high = stats.ttest_rel(*means).confidence_interval(1 - 0.05 / among)
        assert found is not None
        assert (found.low, found.value, found.high) == pytest.approx((low, np.mean(np.subtract(*means)), high))
    alone = dict.fromkeys(patients, "p0")
    assert gain(one, other, alone) is None
    assert spread(one, alone) is None
    assert gain(one, Trial(number=2, choice={}), patients) is None


def test_of_many_equal_trials_few_seem_to_win() -> None:
    """The plan by rules loses its place by luck in at most one search of twenty, with four patients too."""
    rng, lost = np.random.default_rng(1), 0
    patients = {f"c{k}": f"p{k}" for k in range(4)}
    for _ in range(200):
        rows = rng.normal(0.7, 0.05, (8, 4))
        trials = [
            Trial(
                number=n,
                choice={},
                rungs=(Rung(steps=1, scores=dict(zip(patients, r.tolist(), strict=True)), seconds=0),),
            )
            for n, r in enumerate(rows)
        ]
        gains = [gain(t, trials[0], patients, among=7) for t in trials[1:]]
        lost += any(g is not None and g.low > 0 for g in gains)
    assert lost <= 14, "of 200; 5 are expected, 10 is the promise"


@given(st.integers(1, 30), st.integers(1, 2000))
def test_expected_steps_are_the_mean_over_random_orders(trials: int, steps: int) -> None:
    rungs = rungs_of(steps)
    assert list(rungs) == sorted(set(rungs))
    assert rungs[-1] == steps
    found, reached = expected_steps(trials, rungs)
    assert steps <= found + 1e-9
    assert found <= trials * steps + 1e-6
    assert trials <= reached <= trials * len(rungs) + 1e-6


def test_expected_steps_are_those_of_many_random_searches() -> None:
    rungs, rng, sums = (10, 30, 90), np.random.default_rng(0), []
    for _ in range(300):
        there: dict[int, list[float]] = {r: [] for r in rungs}
        total = 0
        for value in rng.uniform(size=18):
            for rung in rungs:
                there[rung].append(value)
                total += rung - (rungs[rungs.index(rung) - 1] if rung > rungs[0] else 0)
                if value < sorted(there[rung], reverse=True)[max(1, len(there[rung]) // 3) - 1]:
                    break
        sums.append(total)
    assert expected_steps(18, rungs)[0] == pytest.approx(np.mean(sums), rel=0.15)


@given(st.floats(200, 1e6), st.floats(0.01, 5), st.floats(0, 20), st.floats(0, 60), st.integers(1, 5000))
def test_what_is_afforded_fits_into_the_time(seconds: float, step: float, rung: float, trial: float, most: int) -> None:
    costs = Costs(step, rung, trial)
    try:
        trials, steps = afford(seconds, costs, most_steps=most)
    except PlanError:
        reject()
    done, reached = expected_steps(trials, rungs_of(steps))
    assert done * step + reached * rung + trials * trial <= seconds
    assert trials >= 2
    assert min(50, most) <= steps <= most
    more = afford(2 * seconds, costs, most_steps=most)
    assert more[0] >= trials or more[1] > steps


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("width", "expected KEY=VALUE,VALUE"),
        ("width=0", "a factor above 0"),
        ("width=wide", "a factor above 0"),
        ("depth=0.5", "a whole number of stages"),
        ("depth=", "no value to choose from"),
        ("training.steps=100,200", "is the same in every trial"),
        ("width=[1", "not valid YAML"),
    ],
)
def test_words_that_are_no_space(said: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace.of_words([said])


def test_a_space_is_narrowed_key_by_key() -> None:
    space = SPACE.narrowed(SearchSpace.of_words(["width=0.5,1", "network.options.channels=[8,16],[4,8]"]))
    assert space.choices["width"] == (0.5, 1)
    assert space.choices["network.options.channels"] == ([8, 16], [4, 8])
    assert space.choices[RATE] == SPACE.choices[RATE]
    assert space.size == 2 * 2 * 4
