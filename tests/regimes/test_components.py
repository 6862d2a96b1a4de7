"""What is cleaned follows from figures of single cases; those are what cleaning and measuring by hand gives."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import label_map, make_case, small_plan

from isocenter.metrics import Measure, bootstrap_difference, summarise
from isocenter.pipeline.cleaning import clean
from isocenter.plan import InferenceSpec, StructureSpec, TaskSpec
from isocenter.records import ClassLabel, LabelMap, LabelSchema, Masks, Prediction
from isocenter.regimes import CleaningMeasures, choose_components, measure_cleanings
from isocenter.tasks import build_task
from isocenter.volume import Grid, Volume

CLEANINGS = list(product((False, True), repeat=2))
SCHEMA = LabelSchema.of({"liver": 1, "lesion": 2})
GRID = Grid.regular((3, 8, 9), spacing_mm=(2, 1, 1))


def case_of(name: str, rows: dict[str, dict[tuple[bool, bool], float]], patient: str | None = None, **outcomes: str):
    return CleaningMeasures({
        cleaning: [
            Measure(name, patient or name, s, {"dice": by[cleaning]}, outcomes.get(s, "found"))
            for s, by in rows.items()
        ]
        for cleaning in CLEANINGS
    })  # fmt: skip


def alone(raw: float, each: float) -> dict[tuple[bool, bool], float]:
    """A structure that together with the others loses and gains nothing."""
    return {(together, own): each if own else raw for together, own in CLEANINGS}


def test_only_structures_that_gain_are_kept() -> None:
    cases = [
        case_of(f"c{k}", {"a": alone(0.8, 0.9 - 0.05 * k), "b": alone(0.7, 0.69), "c": alone(0.5, 0.5)})
        for k in range(3)
    ]
    choice = choose_components(cases)
    assert (choice.structures, choice.together) == (("a",), False)
    assert {name: round(gain.value, 9) for name, gain in choice.gains.items()} == {"a": 0.05, "b": -0.01, "c": 0.0}
    assert choice.together_gain.value == 0.0
    kept = cases[0].under(together=choice.together, structures=choice.structures)
    assert [m.values["dice"] for m in kept] == [0.9, 0.7, 0.5]
    assert [m.values["dice"] for m in cases[0].under()] == [0.8, 0.7, 0.5]


def together(raw: float, union: float, both: float, each: float = 0.0) -> dict[tuple[bool, bool], float]:
    return {(False, False): raw, (False, True): each, (True, False): union, (True, True): both}


def test_all_together_come_first_and_no_structure_may_lose_by_it() -> None:
    gains = [case_of(f"c{k}", {"a": together(0.8, 0.9, 0.85), "b": together(0.6, 0.6, 0.7)}) for k in range(4)]
    choice = choose_components(gains)
    assert (choice.together, choice.structures) == (True, ("b",))
    assert choice.together_gain.value == pytest.approx(0.05)
    assert choice.gains["a"].value == pytest.approx(-0.05), "alone, on what all together gave"
    loses = [case_of(f"c{k}", {"a": together(0.8, 0.95, 0.9, 0.9), "b": together(0.6, 0.59, 0.7)}) for k in range(4)]
    choice = choose_components(loses)
    assert (choice.together, choice.structures) == (False, ("a",))


def test_a_structure_by_itself_is_not_asked_about_all_together() -> None:
    choice = choose_components([case_of("c", {"a": together(0.8, 0.9, 0.9, 0.9)}), case_of("d", {"a": alone(1, 1)})])
    assert (choice.together, choice.together_gain, choice.structures) == (False, None, ("a",))


def test_what_is_rightly_removed_counts_as_right_and_what_nobody_has_not_at_all() -> None:
    removed = CleaningMeasures({
        cleaning: [Measure("f", "f", "a", {"dice": 1.0 if cleaning[1] else 0.0}, "absent" if cleaning[1] else "false")]
        for cleaning in CLEANINGS
    })  # fmt: skip
    absent = case_of("n", {"a": alone(1.0, 1.0)}, a="absent")
    choice = choose_components([removed, absent, case_of("c", {"a": alone(0.9, 0.8)})])
    assert choice.gains["a"].cases == 2
    assert choice.gains["a"].value == pytest.approx((1.0 - 0.1) / 2)
    assert choose_components([absent, absent]).structures == ()


tables = st.lists(st.tuples(*[st.integers(0, 100)] * 4, st.integers(0, 3)), min_size=2, max_size=8)


@settings(max_examples=60)
@given(tables, tables, st.integers(0, 5))
def test_the_choice_never_lowers_a_mean_and_its_gains_are_those_of_the_tables(one, other, seed: int) -> None:
    cases = [
        case_of(f"c{k}", {
            name: dict(zip(CLEANINGS, (v / 100 for v in row[:4]), strict=True)) for name, row in (("a", a), ("b", b))
        }, patient=f"p{a[4]}")
        for k, (a, b) in enumerate(zip(one, other, strict=False))
    ]  # fmt: skip
    choice = choose_components(cases, seed=seed)
    raw = summarise([m for c in cases for m in c.under()], resamples=1)
    kept = summarise(
        [m for c in cases for m in c.under(together=choice.together, structures=choice.structures)], resamples=1
    )
    for name in ("a", "b"):
        assert kept["structures"][name]["dice"] >= raw["structures"][name]["dice"] - 1e-9
        base = [c.under(together=choice.together)["ab".index(name)].values["dice"] for c in cases]
        own = [c.under(together=choice.together, structures=[name])["ab".index(name)].values["dice"] for c in cases]
        assert choice.gains[name].value == pytest.approx(np.mean(own) - np.mean(base))
        assert (name in choice.structures) == (np.mean(own) - np.mean(base) > 1e-9)
        patients = [c.patient for c in cases]
        if len(set(patients)) < 2:
            assert choice.gains[name].interval is None
        else:
            expected = bootstrap_difference(own, base, patients, resamples=1000, seed=seed)
            assert choice.gains[name].interval == pytest.approx((expected.low, expected.high))


def test_the_plan_says_what_was_found() -> None:
    structures = [{"name": name, "values": [k]} for k, name in enumerate("ab", 1)]
    plan = small_plan({"structures": structures}, {}, {"patch": [4, 4, 4]})
    cases = [case_of(f"c{k}", {"a": alone(0.8, 0.9), "b": alone(0.7, 0.6)}) for k in range(3)]
    applied = choose_components(cases).apply(plan, "3 held-out cases")
    assert applied.inference.largest_component == ("a",)
    assert applied.inference.largest_together is False
    reason = applied.reasons["inference.largest_component"]
    assert reason.startswith("kept where the mean dice of 3 held-out cases rises: a +0.1000 [+0.1000, +0.1000], b -0.1")
    assert "inference.largest_together" in applied.reasons
    assert type(plan).model_validate(applied.model_dump()) == applied
    facts = choose_components(cases[:1]).facts()
    assert facts["gains"]["b"] == {"dice": pytest.approx(-0.1), "interval": None, "cases": 1}
    answer = [Measure("c", "p", "a", {"accuracy": 1.0})]
    unmeasured = choose_components([CleaningMeasures(dict.fromkeys(CLEANINGS, answer))])
    assert unmeasured.apply(plan) is plan
    assert unmeasured.facts()["gains"] == {}


def segmentation(exclusive: bool = True):
    structures = tuple(
        StructureSpec(name=n, values=(1, 2) if n == "liver" and not exclusive else (k,))
        for k, n in enumerate(("liver", "lesion"), 1)
    )
    return build_task(TaskSpec(structures=structures, exclusive=exclusive), "ct")


def drawn(seed: int, exclusive: bool):
    """A case whose truth is two boxes, and a prediction of it with strays."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(GRID.shape, np.uint8)
    truth[1:, 1:5, 1:5], truth[1:, 2:4, 5:8] = 1, 2
    labels = np.where(rng.random(GRID.shape) < 0.1, rng.integers(0, 3, GRID.shape), truth).astype(np.uint8)
    task = segmentation(exclusive)
    image = Volume(rng.normal(size=GRID.shape), GRID)
    case = make_case(f"{seed}", image, label_map(truth, GRID, task.schema))
    volume = Volume(task.schema.encode(labels), GRID, "label")
    return task, case, Prediction(case, (task.annotation(volume),))


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_every_choice_has_the_figures_of_a_prediction_cleaned_by_it(seed: int, exclusive: bool) -> None:
    task, case, prediction = drawn(seed, exclusive)
    found = measure_cleanings(task, prediction, case)
    seen = set()
    for union, structures in product((False, True), [(), ("liver",), ("lesion",), ("liver", "lesion")]):
        spec = InferenceSpec(largest_together=union, largest_component=structures)
        (labels,) = prediction.annotations
        expected = task.measure(Prediction(case, (clean(labels, spec),)), case)
        assert found.under(together=union, structures=structures) == expected
        seen.add(tuple(m.values["dice"] for m in expected))
    assert len(seen) > 3


def test_a_prediction_that_no_cleaning_changes_is_measured_once() -> None:
    task, case, _ = drawn(0, exclusive=True)
    volume = Volume(task.truth(case)[0], GRID, "label")
    calls = []
    measure = task.measure
    task.measure = lambda *given: calls.append(given) or measure(*given)
    found = measure_cleanings(task, Prediction(case, (task.annotation(volume),)), case)
    assert len(calls) == 1
    assert set(map(id, found.measures.values())) == {id(found.measures[False, False])}
    assert found.patient == case.patient


def test_predictions_without_structures_to_clean_stay_as_they_are() -> None:
    task, case, _ = drawn(1, exclusive=True)
    labels = Volume(np.array([[[[1, 0, 2]]]], np.uint8), Grid.regular((1, 1, 3), spacing_mm=(1, 1, 1)), "label")
    shared = LabelMap(schema=LabelSchema.of({"whole": (1, 2), "core": 2}), image="ct", read=lambda: labels)
    answer = ClassLabel(classes=("x", "y"), values=("x",))
    given: list[Prediction] = []
    task.measure = lambda prediction, case: given.append(prediction) or []
    measure_cleanings(task, Prediction(case, (answer, shared)), case)
    assert len(given) == 1
    both = Volume(np.array([[[[1, 0, 1]]], [[[0, 0, 1]]]]), labels.grid, "label")
    own = Masks(schema=shared.schema, image="ct", read=lambda: both)
    measure_cleanings(task, Prediction(case, (answer, own)), case)
    assert len(given) == 4, "as it is, each, together; both is together"
    assert {p.annotations[0] for p in given} == {answer}
