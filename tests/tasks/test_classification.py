"""Classification: truth, losses, mirroring, decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.synthetic import make_case

from isocenter.augment import identity_map
from isocenter.errors import LabelError, PlanError
from isocenter.plan import TaskSpec
from isocenter.records import ClassLabel, Prediction
from isocenter.tasks import Calibration, Classification, Placement, Window, build_task
from isocenter.volume import Grid, Volume

GRID = Grid.regular((2, 4, 4), spacing_mm=(1, 1, 1))
CLASSES = ("left", "none", "right")


def classification(exclusive: bool = True, classes: tuple[str, ...] = CLASSES, **options: object) -> Classification:
    spec = TaskSpec(name="classification", target="side", classes=classes, exclusive=exclusive, options=options)
    return build_task(spec, "ct")


def case_of(*values: str, exclusive: bool = True, name: str = "side"):
    # the order of a table's classes need not be the plan's
    label = ClassLabel(name=name, classes=tuple(reversed(CLASSES)), values=values, exclusive=exclusive)
    return make_case("k1", Volume(np.zeros(GRID.shape, np.float32), GRID), label)


def answer(task: Classification, *values: str) -> torch.Tensor:
    return task.encode(case_of(*values, exclusive=task.spec.exclusive), {"ct": GRID})["answer"]


def decode(task: Classification, *logits: tuple[float, ...], **kwargs: Calibration) -> ClassLabel:
    reducer = task.reducer()
    reducer.begin(GRID.shape)
    for row in logits:
        reducer.add({"classification": torch.tensor(row)}, Window((0, 0, 0), GRID.shape))
    (found,) = task.decode(iter(reducer.end()), Placement(GRID, GRID), **kwargs).annotations
    assert isinstance(found, ClassLabel)
    return found


def test_truth_follows_the_classes_of_the_plan():
    assert [int(answer(classification(), name)) for name in CLASSES] == [0, 1, 2]
    several = classification(exclusive=False)
    assert answer(several, "right", "left").tolist() == [1.0, 0.0, 1.0]
    assert answer(several).tolist() == [0.0, 0.0, 0.0]


def test_truth_that_cannot_be_used_is_refused_by_name():
    task = classification()
    with pytest.raises(LabelError, match="case k1: has no class 'side'"):
        task.encode(case_of("left", name="other"), {"ct": GRID})
    with pytest.raises(
        LabelError, match=r"case k1: class 'up' of 'side' is not declared \(declared: left, none, right"
    ):
        task.encode(case_of("up"), {"ct": GRID})
    with pytest.raises(LabelError, match="case k1: 2 answers to the exclusive question 'side'"):
        task.encode(case_of("left", "right", exclusive=False), {"ct": GRID})


def test_mirroring_swaps_left_and_right_where_both_are_classes():
    plain = identity_map(centre=(0, 1, 1), shape=GRID.shape)
    mirrored = type(plain)(plain.matrix, plain.shape, mirrored=True)
    for task in (classification(), classification(exclusive=False)):
        for name, other in zip(CLASSES, reversed(CLASSES), strict=True):
            targets = {"answer": answer(task, name)}
            assert torch.equal(task.warp(targets, mirrored)["answer"], answer(task, other))
            assert torch.equal(task.warp(targets, plain)["answer"], answer(task, name))
    alone = classification(classes=("left", "none"))
    assert int(alone.warp({"answer": answer(alone, "left")}, mirrored)["answer"]) == 0


@pytest.mark.parametrize("smooth", [0.0, 0.2])
def test_exclusive_loss_equals_the_formula(smooth):
    weights = {"left": 2.0, "right": 0.5}
    task = classification(class_weights=weights, label_smoothing=smooth)
    logits = np.random.default_rng(0).normal(size=(5, 3))
    truth = np.array([0, 1, 2, 2, 0])
    terms = task.loss({"classification": torch.from_numpy(logits)}, {"answer": torch.from_numpy(truth)})
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    weight = np.array([2.0, 1.0, 0.5])
    spread = np.full((5, 3), smooth / 3)
    spread[np.arange(5), truth] += 1 - smooth
    expected = -(spread * weight * log_p).sum() / weight[truth].sum()
    assert float(terms["entropy"]) == pytest.approx(expected, rel=1e-5)
    assert float(terms["score"]) == pytest.approx((logits.argmax(1) == truth).mean())


@pytest.mark.parametrize("smooth", [0.0, 0.2])
def test_loss_of_several_answers_equals_the_formula(smooth):
    task = classification(exclusive=False, class_weights={"none": 3.0}, label_smoothing=smooth)
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(5, 3)), rng.integers(0, 2, (5, 3)).astype(float)
    terms = task.loss({"classification": torch.from_numpy(logits)}, {"answer": torch.from_numpy(truth).float()})
    share, soft = 1 / (1 + np.exp(-logits)), truth * (1 - smooth) + smooth / 2
    expected = -(np.array([1, 3.0, 1]) * soft * np.log(share) + (1 - soft) * np.log(1 - share)).mean()
    assert float(terms["entropy"]) == pytest.approx(expected, rel=1e-5)
    assert float(terms["score"]) == pytest.approx(((logits > 0) == (truth > 0)).mean())


def test_logits_of_windows_are_averaged_then_calibrated():
    found = decode(classification(), (3.0, 0.0, 1.0), (1.0, 0.0, 5.0), calibration=Calibration(temperature=2.0))
    expected = np.exp([1.0, 0.0, 1.5]) / np.exp([1.0, 0.0, 1.5]).sum()
    assert found.values == ("right",)
    assert found.classes == CLASSES
    assert (found.name, found.exclusive, found.image) == ("side", True, None)
    assert found.probabilities == pytest.approx(expected, rel=1e-6)


def test_several_or_no_answers_may_hold():
    task = classification(exclusive=False)
    found = decode(task, (2.0, -1.0, 0.5))
    assert found.values == ("left", "right")
    assert found.probabilities == pytest.approx(1 / (1 + np.exp([-2.0, 1.0, -0.5])), rel=1e-6)
    assert decode(task, (-2.0, -1.0, -0.5)).values == ()


def test_measures():
    task = classification()
    found = decode(task, (3.0, 0.0, 1.0))
    for name, right in (("left", 1.0), ("right", 0.0)):
        case = case_of(name)
        (measure,) = task.measure(Prediction(case, (found,)), case)
        assert (measure.name, measure.case, measure.patient) == ("side", "k1", "patient-k1")
        assert measure.values["accuracy"] == right
        assert measure.values["probability"] == pytest.approx(found.probabilities[CLASSES.index(name)])
    task = classification(exclusive=False)
    case = case_of("left", "right", exclusive=False)
    measures = task.measure(Prediction(case, (decode(task, (3.0, -1.0, -1.0)),)), case)
    assert [(m.name, m.values["accuracy"]) for m in measures] == [("left", 1.0), ("none", 1.0), ("right", 0.0)]


def test_classes_have_no_place_and_patches_keep_the_answer():
    task = classification()
    targets = {"answer": answer(task, "none")}
    assert task.sites(targets) == {}
    assert task.collate([targets, targets])["answer"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": None}, r"task\.target: a classification needs"),
        ({"classes": ("one",)}, r"task\.classes: \['one'\]; needs at least 2"),
        ({"classes": ("a", "a")}, r"needs at least 2 different"),
        ({"options": {"class_wights": {}}}, r"did you mean 'class_weights'\?.*label_smoothing"),
        ({"options": {"class_weights": {"up": 1}}}, r"class_weights: 'up' is not one of the classes \(left, none"),
        ({"options": {"class_weights": {"left": 0}}}, r"class_weights\.left: 0 is not a positive"),
        ({"options": {"label_smoothing": 1}}, r"label_smoothing: .*found 1"),
    ],
)
def test_plans_that_do_not_fit_are_refused(changes, message):
    spec = {"name": "classification", "target": "side", "classes": CLASSES, **changes}
    with pytest.raises(PlanError, match=message):
        Classification(TaskSpec(**spec), "ct")
