"""The largest part, found on runs, against scikit-image and scipy; label maps with values of their own."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from isocenter.postprocess.largest import keep_largest, keep_largest_values
from isocenter.postprocess.runs import keep_largest_runs
from isocenter.records import IGNORE, LabelError, LabelSchema, ValueRangeError

TWO = LabelSchema.of({"liver": 1, "lesion": 2})
TUMOUR = LabelSchema.of({"whole": (1, 2), "core": 2})
RANKS = {6: 1, 18: 2, 26: 3}
connectivities = st.sampled_from([6, 18, 26])
volumes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=8), elements=st.integers(0, 2))


def largest(mask: NDArray[np.bool_], connectivity: int) -> NDArray[np.bool_]:
    """By scikit-image, which numbers parts in the order of their first voxels."""
    parts = measure.label(mask, connectivity=RANKS[connectivity])
    sizes = np.bincount(parts.ravel())[1:]
    return parts == 1 + int(sizes.argmax()) if len(sizes) else mask


@settings(max_examples=200)
@given(volumes, connectivities)
def test_every_class_keeps_what_scikit_image_calls_its_largest_part(labels: NDArray[np.uint8], connectivity: int):
    before = labels.copy()
    kept = keep_largest(labels[None], TWO, connectivity=connectivity)[0]
    for value in (1, 2):
        np.testing.assert_array_equal(kept == value, largest(labels == value, connectivity))
    np.testing.assert_array_equal(labels, before)


@settings(max_examples=100)
@given(volumes, connectivities)
def test_together_the_union_keeps_its_largest_part(labels: NDArray[np.uint8], connectivity: int):
    expected = labels * largest(labels > 0, connectivity)
    np.testing.assert_array_equal(
        keep_largest(labels[None], TWO, together=True, connectivity=connectivity)[0], expected
    )
    masks = TUMOUR.encode(labels)
    kept = keep_largest(masks, TUMOUR, together=True, connectivity=connectivity)
    np.testing.assert_array_equal(kept, masks * largest(labels > 0, connectivity))


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_large_noise_in_several_threads_is_the_same(connectivity: int) -> None:
    rng = np.random.default_rng(connectivity)
    noise = ndimage.gaussian_filter(rng.normal(size=(40, 50, 60)), 1.0)
    labels = (1 + (noise > 0.05) - (np.abs(noise) < 0.05)).astype(np.uint8)
    kept = keep_largest(labels[None], TWO, connectivity=connectivity)[0]
    for value in (1, 2):
        parts, count = ndimage.label(labels == value, ndimage.generate_binary_structure(3, RANKS[connectivity]))
        assert count > 5
        sizes = np.bincount(parts.ravel())[1:]
        np.testing.assert_array_equal(kept == value, parts == 1 + int(sizes.argmax()))


def test_a_view_that_is_not_contiguous_is_read_as_it_looks() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (6, 7, 8)).astype(np.uint8).transpose(2, 0, 1)[:, ::-1]
    np.testing.assert_array_equal(keep_largest(labels[None], TWO)[0] == 1, largest(labels == 1, 26))


def test_what_is_not_asked_for_stays() -> None:
    labels = np.array([[[1, 0, 2, 0, 2, 2, IGNORE]]], np.uint8)
    assert keep_largest(labels[None], TWO, structures=["lesion"]).ravel().tolist() == [1, 0, 0, 0, 2, 2, IGNORE]
    assert keep_largest(labels[None], TWO, structures=[]).ravel().tolist() == labels.ravel().tolist()
    everything = np.arange(256, dtype=np.uint8)
    assert keep_largest_runs(np.zeros((0, 3, 3), np.uint8), everything, everything, 3).shape == (0, 3, 3)


def test_a_label_map_keeps_its_own_values() -> None:
    schema = LabelSchema.of({"kidney": (5, 9), "cyst": 700})
    labels = np.array([[[5, 9, 0, 9, 3, 700, 0, 700, 700, 700]]], np.int16)
    kept = keep_largest_values(labels, schema)
    assert kept.dtype == np.int16
    assert kept.ravel().tolist() == [5, 9, 0, 0, 3, 0, 0, 700, 700, 700]
    cyst = keep_largest_values(labels, schema, structures=["cyst"]).ravel().tolist()
    assert cyst == [5, 9, 0, 9, 3, 0, 0, 700, 700, 700]
    together = keep_largest_values(labels, schema, together=True).ravel().tolist()
    assert together == [0, 0, 0, 0, 3, 0, 0, 700, 700, 700]


@given(volumes)
def test_values_and_numbers_agree(labels: NDArray[np.uint8]) -> None:
    other = LabelSchema.of({"liver": 30, "lesion": (-4, 70)})
    values = np.array([0, 30, 70])[labels]
    kept = keep_largest(labels[None], TWO)[0]
    for kind in (np.int16, np.float32, np.uint8):
        np.testing.assert_array_equal(keep_largest_values(values.astype(kind), other), np.array([0, 30, 70])[kept])


@given(volumes)
def test_regions_of_a_label_map_lose_what_their_masks_lose(labels: NDArray[np.uint8]) -> None:
    """What the core loses is still of the whole; what the whole loses is of nothing."""
    for name in ("whole", "core"):
        kept = TUMOUR.encode(keep_largest_values(labels, TUMOUR, structures=[name]))
        masks = keep_largest(TUMOUR.encode(labels), TUMOUR, structures=[name])
        if name == "whole":
            masks[1] &= masks[0]
        np.testing.assert_array_equal(kept, masks)


def test_too_many_values_unknown_names_and_connectivities_are_refused() -> None:
    with pytest.raises(LabelError, match="299 different values"):
        keep_largest_values(np.arange(300).reshape(1, 1, -1), TWO)
    with pytest.raises(LabelError, match="no structure 'spleen'"):
        keep_largest_values(np.zeros((1, 1, 3), np.uint8), TWO, structures=["spleen"])
    with pytest.raises(ValueRangeError, match="connectivity is 4"):
        keep_largest_values(np.zeros((1, 1, 3), np.uint8), TWO, connectivity=4)
