"""Detection: losses, decoding, figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import make_case
from tests.tasks.detection_cases import CORNERS, SCHEMA, boxes, detection, encode, image

from isocenter.errors import PlanError
from isocenter.inference import plan_windows
from isocenter.networks import build_network
from isocenter.plan import InputSpec, NetworkSpec, StructureSpec, TaskSpec
from isocenter.records import Boxes, Prediction
from isocenter.tasks import Calibration, Detection, Placement, Targets
from isocenter.tasks.boxes import clip_boxes
from isocenter.tasks.peaks import draw_peaks
from isocenter.volume import Grid

# -- losses


def outputs_for(targets: Targets, cells: tuple[int, int, int], strides: tuple[int, int, int], count: int = 2):
    """Outputs of a network that has learned ``targets`` to perfection."""
    heat, _, wanted = draw_peaks(targets["boxes"], targets["classes"], count=count, cells=cells, strides=strides)
    return {"heat": (heat.clamp(1e-4, 1 - 1e-4)).logit(), "box": wanted}


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return terms["heat"] + terms["box"]


def test_loss_is_least_for_the_truth_and_its_gradient_reaches_both_outputs():
    task = detection()
    batch = task.collate([encode(boxes()), encode(boxes(CORNERS[:1], (1,)))])
    assert batch["classes"].tolist() == [[0, 1], [1, -1]]
    perfect = outputs_for(batch, (8, 6, 8), (2, 4, 4))
    terms = task.loss(perfect, batch)
    assert float(terms["score"]) == pytest.approx(1, abs=1e-3)
    assert float(terms["box"]) == pytest.approx(0, abs=1e-5)
    random = {k: torch.randn(v.shape).requires_grad_() for k, v in perfect.items()}
    worse = task.loss(random, batch)
    assert total(worse) > total(terms) + 1
    assert 0 <= float(worse["score"]) <= 1
    total(worse).backward()
    assert (random["heat"].grad.abs().amax((0, 2, 3, 4)) > 0).all()
    assert (random["box"].grad.abs().amax((0, 2, 3, 4)) > 0).all()


def test_loss_is_divided_by_the_objects_of_the_batch():
    task = detection()
    one = task.collate([encode(boxes())])
    outputs = {"heat": torch.randn(1, 2, 8, 6, 8), "box": torch.randn(1, 6, 8, 6, 8)}
    four = {k: torch.cat([v] * 4) if k != "size" else v for k, v in one.items()}
    for name, value in task.loss({k: torch.cat([v] * 4) for k, v in outputs.items()}, four).items():
        assert torch.allclose(value, task.loss(outputs, one)[name], rtol=1e-4), name


def test_batches_without_objects_train():
    task = detection()
    batch = task.collate([encode(boxes(np.zeros((0, 6)), ()))] * 2)
    outputs = {"heat": torch.full((2, 2, 8, 6, 8), -1.0), "box": torch.randn(2, 6, 8, 6, 8)}
    outputs = {k: v.requires_grad_() for k, v in outputs.items()}
    terms = task.loss(outputs, batch)
    total(terms).backward()
    assert float(terms["box"].detach()) == 0
    assert (outputs["heat"].grad > 0).all()  # everywhere less
    assert torch.isfinite(outputs["box"].grad).all()
    assert float(terms["score"]) == pytest.approx(1 - torch.sigmoid(torch.tensor(-1.0)).item())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_network_gives_what_the_task_asks_for(dimensions):
    task = detection(stride=4)
    size = (1, 30, 41) if dimensions == 2 else (9, 30, 41)
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    spec = NetworkSpec(dimensions=dimensions, options={"strides": strides, "channels": [4, 4, 8, 8]})
    network = build_network(spec, [InputSpec(name="ct")], task.heads())
    outputs = network({"ct": torch.randn(2, 1, *size)}, {})
    cells = (1, 8, 11) if dimensions == 2 else (5, 8, 11)
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {"heat": (2, 2, *cells), "box": (2, 6, *cells)}
    assert float(outputs["heat"].detach().sigmoid().mean()) < 0.1  # few objects are expected at first
    targets = {"boxes": torch.zeros(0, 6), "classes": torch.zeros(0, dtype=torch.int64), "size": torch.tensor(size)}
    total(task.loss(outputs, task.collate([targets, targets]))).backward()


# -- decoding


@st.composite
def separate_boxes(draw, flat: bool):
    """Boxes of a voxel or more in different blocks of 8 voxels (a whole slice high where flat)."""
    slices = 1 if flat else draw(st.integers(4, 20))
    blocks = [(z, y, x) for z in range(max(1, slices // 8)) for y in range(3) for x in range(4)]
    chosen = draw(st.lists(st.sampled_from(blocks), unique=True, max_size=6))
    corners = []
    for block in chosen:
        low = [8 * b + draw(st.floats(-0.4, 2)) for b in block]
        high = [a + draw(st.floats(1, 5)) for a in low]
        if flat:
            low[0], high[0] = -0.5, 0.5
        corners.append([*low, *[min(h, n - 0.5) for h, n in zip(high, (slices, 24, 32), strict=True)]])
    classes = draw(st.lists(st.integers(0, 1), min_size=len(chosen), max_size=len(chosen)))
    return slices, np.array(corners).reshape(-1, 6), np.array(classes, dtype=np.int64)


def run(task: Detection, corners, classes, shape, window, *, strides, placement=None, overlap=0.5, calibration=None):
    """Decode what a perfect network says in every window, of objects cut by the windows' borders too."""
    reducer, slabs = task.reducer(), []
    reducer.begin(shape)
    for part in plan_windows(shape, window, overlap):
        moved, left = clip_boxes(corners - np.tile(part.start, 2), part.shape)
        seen = left >= 0.25
        targets = {"boxes": torch.from_numpy(moved[seen]).float(), "classes": torch.from_numpy(classes[seen])}
        batch = task.collate([{**targets, "size": torch.tensor(part.shape)}])
        cells = tuple(-(-n // s) for n, s in zip(part.shape, strides, strict=True))
        slabs += reducer.add({k: v[0] for k, v in outputs_for(batch, cells, strides).items()}, part)
    slabs += reducer.end()
    grid = Grid.regular(shape, spacing_mm=(1, 1, 1))
    (found,) = task.decode(iter(slabs), placement or Placement(grid, grid), calibration).annotations
    assert isinstance(found, Boxes)
    return found


@settings(max_examples=40)
@given(data=st.data(), flat=st.booleans())
def test_a_perfect_heat_map_gives_the_boxes_back(data, flat):
    slices, corners, classes = data.draw(separate_boxes(flat))
    strides = (1, 4, 4) if flat else (2, 4, 4)
    shape = (slices, 24, 32)
    found = run(detection(min_score=0.9), corners, classes, shape, shape, strides=strides)
    order, wanted = np.lexsort(found.corners.T), np.lexsort(corners.T)
    np.testing.assert_allclose(found.corners[order], corners[wanted], atol=1e-3)
    assert found.classes[order].tolist() == classes[wanted].tolist()
    assert (found.scores > 0.99).all()


@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_windows_that_cut_objects_give_each_object_once(overlap):
    rng = np.random.default_rng(3)
    shape = (20, 40, 56)
    lattice = np.array([[z, y, x] for z in (1, 11) for y in (2, 14, 27) for x in (3, 16, 29, 42)], float)
    low = lattice + rng.uniform(0, 2, lattice.shape) - 0.5
    corners = np.concatenate([low, low + rng.uniform(3, 7, lattice.shape)], 1)
    classes = rng.integers(0, 2, len(corners))
    found = run(detection(min_score=0.5), corners, classes, shape, (16, 16, 24), strides=(2, 4, 4), overlap=overlap)
    assert len(found.corners) == len(corners)
    order, wanted = np.lexsort(np.round(found.corners).T), np.lexsort(np.round(corners).T)
    np.testing.assert_allclose(found.corners[order], corners[wanted], atol=0.05)


def test_boxes_are_placed_on_the_target_grid():
    target = Grid.regular((20, 48, 64), spacing_mm=(2.5, 0.7, 0.7), origin_mm=(3, 2, 1))
    working = target.respaced((2.5, 1.4, 1.4))
    corners = np.array([[3.5, 4.5, 6.5, 6.5, 9.5, 11.5]])
    found = run(
        detection(), corners, np.array([1]), working.shape, working.shape,
        strides=(2, 4, 4), placement=Placement(working, target),
    )  # fmt: skip
    stated = working.to_world(corners.reshape(2, 3))
    np.testing.assert_allclose(target.to_world(found.corners[:1].reshape(2, 3)), stated, atol=1e-2)
    assert (found.image, found.source, found.schema.names) == ("ct", "model", SCHEMA.names)


def test_temperature_tempers_scores():
    shape, classes = (8, 16, 16), np.array([0])
    corners = np.array([[1.5, 2.5, 3.5, 4.5, 6.5, 9.5]])
    plain = run(detection(), corners, classes, shape, shape, strides=(2, 4, 4))
    mild = run(detection(), corners, classes, shape, shape, strides=(2, 4, 4), calibration=Calibration(temperature=4.0))
    top = float(plain.scores[0])
    assert float(mild.scores[0]) == pytest.approx(1 / (1 + np.exp(-np.log(top / (1 - top)) / 4)), rel=1e-3)


def test_nothing_found_is_a_result():
    found = run(detection(), np.zeros((0, 6)), np.zeros(0, np.int64), (8, 16, 16), (8, 8, 8), strides=(2, 4, 4))
    assert found.corners.shape == (0, 6)
    assert len(found.scores) == len(found.classes) == 0
    case = make_case("k1", image(), boxes())
    outcomes = [m.outcome for m in detection().measure(Prediction(case, (found,)), case)]
    assert outcomes == ["missed", "missed"]


# -- figures


def test_measures_count_hits_class_by_class():
    case = make_case("k1", image(), boxes())
    shifted = CORNERS + np.array([0, 2, 0, 0, 2, 0])  # IoU 1/3 and 3/5
    stray = np.array([[13.5, 0.5, 0.5, 15.5, 2.5, 2.5]])
    found = boxes(np.concatenate([shifted, stray]), (0, 0, 1), scores=np.array([0.9, 0.8, 0.2]))
    first, second = detection().measure(Prediction(case, (found,)), case)
    assert (first.name, first.outcome) == ("node_left", "found")
    assert dict(first.values) == {"false_positives": 1.0, "sensitivity": 1.0}
    assert (second.name, second.outcome) == ("node_right", "missed")  # a box of the other class is no hit
    assert dict(second.values) == {"false_positives": 0.0, "sensitivity": 0.0}
    (strict, _) = detection(min_iou=0.5).measure(Prediction(case, (found,)), case)
    assert strict.values["sensitivity"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_overlapp": 1}, r"did you mean 'max_overlap'\?\); detection knows stride, .*min_iou"),
        ({"min_score": 2}, r"task\.options\.min_score: .*found 2"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    with pytest.raises(PlanError, match=message):
        detection(**options)


def test_a_detection_needs_structures():
    with pytest.raises(PlanError, match="at least one kind of object"):
        Detection(TaskSpec(name="detection"), "ct")
    assert Detection(TaskSpec(name="detection", structures=(StructureSpec(name="a", values=(1,)),)), "ct").heads()
