"""Detection: truth, moved boxes, losses, decoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.synthetic import label_map, make_case

from isocenter.augment import SpatialMap, identity_map
from isocenter.errors import GeometryError, LabelError, PlanError
from isocenter.inference import plan_windows
from isocenter.networks import build_network
from isocenter.plan import InputSpec, NetworkSpec, StructureSpec, TaskSpec
from isocenter.records import Boxes, LabelSchema, Masks, Prediction
from isocenter.tasks import Calibration, Detection, Placement, Targets, build_task
from isocenter.tasks.boxes import clip_boxes
from isocenter.tasks.peaks import draw_peaks
from isocenter.volume import Grid, Volume

GRID = Grid.regular((16, 24, 32), spacing_mm=(2, 1, 1), origin_mm=(-7, 3, 5))
SCHEMA = LabelSchema.of({"node_left": 1, "node_right": 2})
CORNERS = np.array([[1.5, 2.5, 3.5, 4.5, 6.5, 9.5], [8.5, 9.5, 10.5, 12.5, 17.5, 14.5]])


def detection(schema: LabelSchema = SCHEMA, **options: object) -> Detection:
    spec = TaskSpec(name="detection", structures=TaskSpec.structures_of(schema), options=options)
    return build_task(spec, "ct")


def image() -> Volume:
    return Volume(np.zeros(GRID.shape, np.float32), GRID)


def boxes(corners: np.ndarray = CORNERS, classes: tuple[int, ...] = (0, 1), schema: LabelSchema = SCHEMA, **more):
    return Boxes(image="ct", schema=schema, corners=corners, classes=np.array(classes, dtype=np.int64), **more)


def filled(corners: np.ndarray = CORNERS, values: tuple[int, ...] = (1, 2)) -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    for box, value in zip((corners + 0.5).astype(int), values, strict=True):
        array[tuple(slice(a, b) for a, b in zip(box[:3], box[3:], strict=True))] = value
    return array


def encode(*annotations, task: Detection | None = None, grid: Grid = GRID) -> Targets:
    return (task or detection()).encode(make_case("k1", image(), *annotations), {"ct": grid})


# -- truth


def test_truth_comes_from_boxes_label_maps_and_masks_alike():
    array = filled()
    planes = Volume(np.stack([array == 2, array == 1]).astype(np.uint8), GRID, "label")
    swapped = LabelSchema.of({"node_right": 1, "node_left": 2}, exclusive=False)
    masks = Masks(image="ct", schema=swapped, read=lambda: planes)
    for annotation in (boxes(), label_map(array, GRID, SCHEMA), masks):
        targets = encode(annotation)
        assert targets["boxes"].numpy() == pytest.approx(CORNERS)
        assert targets["classes"].tolist() == [0, 1]
        assert targets["size"].tolist() == list(GRID.shape)
        if "instances" in targets:
            found = targets["instances"].amax(0).numpy()
            assert [set(np.unique(found[array == k])) for k in (0, 1, 2)] == [{0}, {1}, {2}]


def test_classes_are_taken_by_name():
    other = LabelSchema.of({"vessel": 1, "node_right": 2, "node_left": 3})
    targets = encode(boxes(classes=(2, 1), schema=other))
    assert targets["classes"].tolist() == [0, 1]
    with pytest.raises(LabelError, match=r"case k1: a box of class 'vessel' is not declared .*node_left, node_right"):
        encode(boxes(classes=(0, 1), schema=other))


def test_boxes_follow_the_working_grid():
    working = GRID.respaced((2, 2, 2))
    for annotation in (boxes(), label_map(filled(), GRID, SCHEMA)):
        targets = encode(annotation, grid=working)
        for box, original in zip(targets["boxes"].numpy(), CORNERS, strict=True):
            placed, stated = working.to_world(box.reshape(2, 3)), GRID.to_world(original.reshape(2, 3))
            np.testing.assert_allclose(placed, stated, atol=1e-4)


def test_boxes_on_a_turned_grid_are_tight_where_masks_are_known():
    turn = np.eye(4)
    angle = np.radians(30)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = Grid((16, 40, 40), GRID.affine @ turn)
    loose = encode(boxes(), grid=turned)["boxes"].numpy()
    targets = encode(label_map(filled(), GRID, SCHEMA), grid=turned)
    for k, box in enumerate(targets["boxes"].numpy(), start=1):
        (where,) = ndimage.find_objects((targets["instances"][0].numpy() == k).astype(int))
        assert box.tolist() == [s.start - 0.5 for s in where] + [s.stop - 0.5 for s in where]
    sizes = [(b[:, 3:] - b[:, :3]).prod(1) for b in (targets["boxes"].numpy(), loose)]
    assert (sizes[0] <= sizes[1] * 1.1).all()


def test_cases_without_objects_are_cases():
    for annotation in (boxes(np.zeros((0, 6)), ()), label_map(np.zeros(GRID.shape, np.uint8), GRID, SCHEMA)):
        targets = encode(annotation)
        assert targets["boxes"].shape == (0, 6)
        assert detection().sites(targets) == {}
        moved = detection().warp(targets, identity_map(centre=(8, 8, 8), shape=(8, 8, 8)))
        assert moved["boxes"].shape == (0, 6)


def test_truth_that_cannot_be_used_is_refused_by_name():
    with pytest.raises(LabelError, match="case k1: has no boxes 'main'"):
        encode()
    with pytest.raises(LabelError, match="case k1: label .* has no structure 'node_right'"):
        encode(label_map(filled(), GRID, LabelSchema.of({"node_left": 1})))
    flat = CORNERS.copy()
    flat[1, 4] = flat[1, 1]
    with pytest.raises(GeometryError, match="case k1: box 1 .* has no extent.*1 of 2"):
        encode(boxes(flat))
    with pytest.raises(GeometryError, match="case k1: label .* does not lie on its image"):
        encode(label_map(filled(), Grid.regular(GRID.shape, spacing_mm=(1, 1, 1)), SCHEMA))


# -- moved boxes


def test_patches_clip_boxes_and_leave_out_what_they_hardly_show():
    # the first box spans rows 3..6 and columns 4..9; the patch begins at row 5 or 6, or column 9
    for start, left in (((0, 5, 0), 0.5), ((0, 6, 0), 0.25), ((0, 0, 9), 1 / 6)):
        cut = SpatialMap(np.eye(4), (16, 8, 12))
        cut.matrix[:3, 3] = start
        for annotation in (boxes(CORNERS[:1], (0,)), label_map(filled(CORNERS[:1], (1,)), GRID, SCHEMA)):
            moved = detection().warp(encode(annotation), cut)
            expected, share = clip_boxes(CORNERS[:1] - np.tile(start, 2), cut.shape)
            assert share.tolist() == pytest.approx([left])
            assert moved["boxes"].numpy() == pytest.approx(expected if left >= 0.25 else np.zeros((0, 6)))
            assert len(moved["classes"]) == len(moved["boxes"])
            assert moved["size"].tolist() == [16, 8, 12]


@pytest.mark.parametrize("angle", [0, 20, 45])
def test_boxes_under_rotation_come_from_the_moved_masks(angle):
    array = filled()
    turn, c, s = np.eye(4), np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn[1:3, 1:3] = np.array([[c, -s], [s, c]]) / 1.1
    turn[:3, 3] = np.array([6, 9.3, 11]) - turn[:3, :3] @ np.array([6, 15, 15])
    spatial_map = SpatialMap(turn, (12, 32, 32))
    moved = detection().warp(encode(label_map(array, GRID, SCHEMA)), spatial_map)["boxes"].numpy()
    for k, box in enumerate(moved, start=1):
        mask = spatial_map.sample(torch.from_numpy((array == k).astype(np.uint8))[None], "nearest", outside=0)[0]
        (where,) = ndimage.find_objects(mask.numpy().astype(int))
        assert box.tolist() == [a.start - 0.5 for a in where] + [a.stop - 0.5 for a in where]
    loose = detection().warp(encode(boxes()), spatial_map)["boxes"].numpy()
    assert len(moved) == len(loose) == 2
    if angle == 0:
        assert moved == pytest.approx(loose, abs=0.6)
    else:
        assert ((loose[:, 3:] - loose[:, :3]).prod(1) > (moved[:, 3:] - moved[:, :3]).prod(1)).all()


def test_mirroring_swaps_left_and_right():
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = GRID.shape[2] - 1
    targets = encode(boxes())
    moved = detection().warp(targets, SpatialMap(flip, GRID.shape, mirrored=True))
    assert moved["classes"].tolist() == [1, 0]
    expected = CORNERS.copy()
    expected[:, [2, 5]] = GRID.shape[2] - 1 - CORNERS[:, [5, 2]]
    assert moved["boxes"].numpy() == pytest.approx(expected)
    assert detection().warp(targets, SpatialMap(flip, GRID.shape))["classes"].tolist() == [0, 1]


def test_sites_are_the_middles():
    sites = detection().sites(encode(boxes()))
    assert {name: places.tolist() for name, places in sites.items()} == {
        "node_left": [[3, 4, 6]],
        "node_right": [[10, 14, 12]],
    }


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
