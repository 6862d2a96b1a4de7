"""Detection: truth on the working grid, and boxes that are moved with their patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.synthetic import label_map
from tests.tasks.detection_cases import CORNERS, GRID, SCHEMA, boxes, detection, encode, filled

from isocenter.augment import SpatialMap, identity_map
from isocenter.errors import GeometryError, LabelError
from isocenter.records import LabelSchema, Masks
from isocenter.tasks.boxes import clip_boxes
from isocenter.volume import Grid, Volume

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
    with pytest.raises(LabelError, match=r"case k1: label .* has no structure 'node_right'"):
        encode(label_map(filled(), GRID, LabelSchema.of({"node_left": 1})))
    flat = CORNERS.copy()
    flat[1, 4] = flat[1, 1]
    with pytest.raises(GeometryError, match=r"case k1: box 1 .* has no extent.*1 of 2"):
        encode(boxes(flat))
    with pytest.raises(GeometryError, match=r"case k1: label .* does not lie on its image"):
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


def test_objects_that_are_only_smaller_stay():
    shrink = SpatialMap(np.diag([2.0, 2.0, 2.0, 1.0]), (8, 12, 16))
    for annotation in (boxes(), label_map(filled(), GRID, SCHEMA)):
        moved = detection().warp(encode(annotation), shrink)["boxes"].numpy()
        assert moved == pytest.approx(CORNERS / 2, abs=0.5)


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
