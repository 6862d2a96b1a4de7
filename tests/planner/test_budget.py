"""A budget becomes a plan with a number of steps; candidates that were not taken are kept with reasons."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.test_fit import case_of, plan_of

from isocenter.errors import ConfigError, PlanError
from isocenter.pipeline import Pipeline, Sample
from isocenter.plan import BudgetSpec, Plan, dump_plan, parse_plan
from isocenter.planner import Work, candidates, fit_to_budget
from isocenter.planner.measuring import Timing, predicting_seconds, time_steps


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    pipeline = Pipeline(plan_of())
    return [pipeline.prepare(case_of(seed), targets=True) for seed in range(2)]


@pytest.mark.parametrize(
    ("said", "seconds"), [("90s", 90), ("10min", 600), ("10 MIN", 600), ("1.5h", 5400), (45, 45), ("2d", 172800)]
)  # fmt: skip
def test_times_are_said_in_words(said: str | float, seconds: float) -> None:
    assert BudgetSpec.of(said).seconds == seconds


@pytest.mark.parametrize("said", ["", "ten minutes", "-3min", "0s", "10 parsec", "1e3", "nan"])
def test_what_is_no_time_is_refused_in_one_line(said: str) -> None:
    with pytest.raises(ConfigError, match=r"budget '.*': give a number above zero with one of .*s, .*as 10min"):
        BudgetSpec.of(said)


@given(st.floats(0.001, 1e4), st.sampled_from([("GB", 1.0), ("MB", 1e-3), ("GiB", 1.073741824), ("", 1.0)]))
def test_memory_is_said_in_words(amount: float, unit: tuple[str, float]) -> None:
    found = BudgetSpec.of(60, memory=f"{amount:.6f}{unit[0]}").memory_gb
    assert found == pytest.approx(float(f"{amount:.6f}") * unit[1])


def timed(monkeypatch: pytest.MonkeyPatch, **by_name: tuple[float, float]) -> list[Plan]:
    """Let each candidate, known by its first channel count and batch, take ``(seconds, GB)``."""
    plans: list[Plan] = []

    def measure(plan: Plan, samples: object, **settings: object) -> Timing:
        plans.append(plan)
        name = next(
            c.name for c in candidates(plan_of()) if c.plan.training == plan.training and c.plan.network == plan.network
        )
        return Timing(*by_name[name.replace(" ", "_")])

    monkeypatch.setattr("isocenter.planner.budgeting.time_steps", measure)
    return plans


def work(samples: list[Sample], spent: float = 10.0) -> Work:
    return Work(samples, [], 0, lambda: spent)


def test_the_most_thorough_candidate_that_gets_through_its_steps_is_taken(samples, monkeypatch) -> None:
    plans = timed(monkeypatch, wide=(0.2, 2), by_rules=(0.1, 1), narrow=(0.05, 0.7), small_batch=(0.06, 0.6))
    ample = fit_to_budget(plan_of(), BudgetSpec.of("2h"), work(samples))
    assert ample.budget is not None
    assert [c.verdict for c in ample.budget.candidates] == ["chosen", *["'wide' reaches more in the same time"] * 3]
    assert ample.training.steps == pytest.approx((0.96 * 7200 - 10) / 0.2, abs=2)
    assert ample.network.options["channels"] == [9, 12]
    assert "7200 s leaves for steps of 0.2 s" in ample.reasons["training.steps"]
    assert len(plans) == 6, "the cheapest warms up, and the chosen one is timed again"

    less = fit_to_budget(plan_of(), BudgetSpec.of("2min"), work(samples))
    assert less.budget is not None
    verdicts = {c.name: c.verdict for c in less.budget.candidates}
    assert verdicts["by rules"] == "chosen"
    assert verdicts["wide"] == "525 steps are fewer than the 2000 it needs"
    assert less.network == plan_of().network
    assert parse_plan(dump_plan(less)) == less


def test_where_none_gets_through_the_nearest_is_taken(samples, monkeypatch) -> None:
    timed(monkeypatch, wide=(0.2, 2), by_rules=(0.1, 1), narrow=(0.05, 0.7), small_batch=(0.06, 0.6))
    short = fit_to_budget(plan_of(), BudgetSpec.of("20s"), work(samples))
    assert short.budget is not None
    assert next(c.name for c in short.budget.candidates if c.verdict == "chosen") == "narrow"
    assert short.training.steps == pytest.approx((0.96 * 20 - 10) / 0.05, abs=2)


def test_memory_rules_candidates_out_and_says_so(samples, monkeypatch) -> None:
    timed(monkeypatch, wide=(0.2, 2), by_rules=(0.1, 1), narrow=(0.05, 0.7), small_batch=(0.06, 0.6))
    tight = fit_to_budget(plan_of(), BudgetSpec.of("2h", memory="900MB"), work(samples))
    assert tight.budget is not None
    verdicts = {c.name: c.verdict for c in tight.budget.candidates}
    assert verdicts["wide"] == verdicts["by rules"] == "needs more than 0.9 GB"
    assert verdicts["narrow"] == "chosen"
    with pytest.raises(PlanError, match=r"no candidate keeps to 0\.5 GB; 'small batch' takes 0\.6 GB"):
        fit_to_budget(plan_of(), BudgetSpec.of("2h", memory=0.5), work(samples))


def test_a_budget_that_is_over_before_the_first_step_is_refused(samples, monkeypatch) -> None:
    timed(monkeypatch, wide=(0.2, 2), by_rules=(0.1, 1), narrow=(0.05, 0.7), small_batch=(0.06, 0.6))
    with pytest.raises(PlanError, match="12 s are over before the first step"):
        fit_to_budget(plan_of(), BudgetSpec.of(12), work(samples, spent=11.6))


def test_a_fixed_network_gets_steps_only(samples, monkeypatch) -> None:
    plans = timed(monkeypatch, by_rules=(0.1, 1))
    found = fit_to_budget(plan_of(), BudgetSpec.of("2h"), work(samples), fixed=True)
    assert (found.network, len(plans)) == (plan_of().network, 3)
    assert found.training.steps == pytest.approx((0.96 * 7200 - 10) / 0.1, abs=2)


def test_validations_take_at_most_a_tenth_and_come_off_the_steps(samples, monkeypatch) -> None:
    timed(monkeypatch, wide=(9, 2), by_rules=(0.1, 1), narrow=(9, 0.7), small_batch=(9, 0.6))
    monkeypatch.setattr("isocenter.planner.budgeting.predicting_seconds", lambda *a, **k: 0.5)
    found = fit_to_budget(plan_of(), BudgetSpec.of(100), Work(samples, samples, 10, lambda: 6.0))
    assert found.training.validations == 2
    assert found.training.steps == pytest.approx((96 - 6 - 3 * 5.0) / 0.1, abs=2)


def test_steps_and_predictions_are_timed_by_running_them(samples: list[Sample], tmp_path: Path) -> None:
    began = time.perf_counter()
    found = time_steps(plan_of(steps=500), samples, device="cpu", steps=3)
    assert 0 < found.seconds_per_step < time.perf_counter() - began
    assert 0.05 < found.memory_gb < 50
    assert 0 < predicting_seconds(plan_of(), samples) < 30


def test_a_slow_step_is_not_repeated_for_long(samples: list[Sample]) -> None:
    began = time.perf_counter()
    time_steps(plan_of(), samples, device="cpu", steps=100_000, seconds=0.5)
    assert time.perf_counter() - began < 20
