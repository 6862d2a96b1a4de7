"""Boxes round connected parts, against scipy's own labelling read voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from isocenter.data import boxes_from_labels
from isocenter.errors import LabelError
from isocenter.records import LabelSchema
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"nodule_left": 1, "nodule_right": 2, "cyst": 3})


def volume_of(array: np.ndarray) -> Volume:
    return Volume(array, Grid.regular(array.shape, spacing_mm=(2, 1, 1)), "label")


@given(arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 2, 3])))
def test_every_voxel_is_in_the_box_of_its_part(array: np.ndarray) -> None:
    boxes = boxes_from_labels(volume_of(array), SCHEMA)
    assert boxes.instances is not None
    instances = boxes.instances().array[0]
    assert ((instances > 0) == (array > 0)).all()
    expected = sum(ndimage.label(array == k, np.ones((3, 3, 3)))[1] for k in (1, 2, 3))
    assert len(boxes.corners) == len(boxes.classes) == expected
    for i, (corners, kind) in enumerate(zip(boxes.corners, boxes.classes, strict=True)):
        voxels = np.argwhere(instances == i + 1)
        assert (array[instances == i + 1] == kind + 1).all()
        assert corners.tolist() == [*(voxels.min(0) - 0.5), *(voxels.max(0) + 0.5)]


def test_chosen_structures_have_a_schema_of_their_own() -> None:
    array = np.zeros((1, 8, 8), np.uint8)
    array[0, :2, :2], array[0, 5:, 5:] = 3, 2
    boxes = boxes_from_labels(volume_of(array), SCHEMA, ["nodule_right", "cyst"], image="ct", name="lesions")
    assert boxes.schema.names == ("nodule_right", "cyst")
    assert boxes.schema["nodule_right"].mirror is None
    assert boxes.classes.tolist() == [0, 1]
    assert (boxes.image, boxes.name) == ("ct", "lesions")


def test_small_parts_can_be_left_out() -> None:
    array = np.zeros((1, 8, 8), np.uint8)
    array[0, 0, 0], array[0, 4:6, 4:6] = 1, 1
    boxes = boxes_from_labels(volume_of(array), SCHEMA, min_voxels=2)
    assert boxes.corners.tolist() == [[-0.5, 3.5, 3.5, 0.5, 5.5, 5.5]]
    assert boxes.instances is not None
    assert boxes.instances().array.max() == 1


def test_nothing_to_box() -> None:
    boxes = boxes_from_labels(volume_of(np.zeros((2, 3, 4), np.uint8)), SCHEMA)
    assert (boxes.corners.shape, boxes.classes.shape) == ((0, 6), (0,))


def test_unknown_structure() -> None:
    with pytest.raises(LabelError, match="no structure 'mass'"):
        boxes_from_labels(volume_of(np.zeros((1, 1, 1), np.uint8)), SCHEMA, ["mass"])
