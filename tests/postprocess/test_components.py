"""Component rules against SimpleITK and scikit-image."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import measure, morphology

from isocenter.postprocess import component_sizes, fill_holes, keep_largest, remove_small
from isocenter.records import IGNORE, LabelError, LabelSchema, ValueRangeError
from isocenter.volume import Grid

TWO = LabelSchema.of({"liver": 1, "lesion": 2})
OVERLAP = LabelSchema.of({"whole": (1, 2), "core": 2})
labels3d = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.integers(0, 2))


def random_labels(seed: int, shape: tuple[int, int, int] = (9, 12, 11)) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 1, 2], np.uint8), size=shape, p=[0.6, 0.25, 0.15])


def one(size: int) -> Grid:
    return Grid.regular((1, 1, size), spacing_mm=(1, 1, 1))


@given(labels3d, st.sampled_from([6, 18, 26]))
def test_component_sizes_agree_with_skimage(labels: NDArray[np.uint8], connectivity: int) -> None:
    parts = measure.label(labels == 1, connectivity={6: 1, 18: 2, 26: 3}[connectivity])
    expected = sorted(np.bincount(parts.ravel())[1:].tolist(), reverse=True)
    assert component_sizes(labels == 1, connectivity=connectivity) == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("connectivity", [6, 26])
def test_keep_largest_agrees_with_simpleitk(seed: int, connectivity: int) -> None:
    labels = random_labels(seed)
    kept = keep_largest(labels[None], TWO, structures=["liver"], connectivity=connectivity)
    image = sitk.GetImageFromArray((labels == 1).astype(np.uint8))
    ranked = sitk.RelabelComponent(sitk.ConnectedComponent(image, connectivity == 26), sortByObjectSize=True)
    ranks = sitk.GetArrayFromImage(ranked)
    sizes = np.bincount(ranks.ravel())
    assert np.count_nonzero(kept == 1) == sizes[1]
    if len(sizes) < 3 or sizes[1] > sizes[2]:  # no tie: the part is the same, not only its size
        np.testing.assert_array_equal(kept[0] == 1, ranks == 1)
    np.testing.assert_array_equal(kept[0] == 2, labels == 2)


def test_keep_largest_takes_the_first_of_two_equal_parts() -> None:
    parts = np.array([[[1, 1, 0, 1, 1]]], np.uint8)
    assert keep_largest(parts[None], LabelSchema.of({"a": 1}))[0].tolist() == [[[1, 1, 0, 0, 0]]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("voxels", [2, 5])
def test_remove_small_agrees_with_skimage(seed: int, voxels: int) -> None:
    labels = random_labels(seed)
    grid = Grid.regular(labels.shape, spacing_mm=(2.5, 0.8, 0.8))
    kept = remove_small(labels[None], TWO, grid, min_ml=voxels * grid.voxel_volume_ml, connectivity=6)
    for value in (1, 2):
        parts = measure.label(labels == value, connectivity=1)
        sizes = np.bincount(parts.ravel())
        expected = (parts > 0) & (sizes[parts] >= voxels)
        assert expected.any()
        np.testing.assert_array_equal(kept[0] == value, expected)


def test_remove_small_by_name_leaves_the_others() -> None:
    labels = np.array([[[[1, 0, 2, 0, 2, 2]]]], np.uint8)
    kept = remove_small(labels, TWO, one(6), min_ml={"lesion": 0.002})
    assert kept.ravel().tolist() == [1, 0, 0, 0, 2, 2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_slice", [False, True])
def test_fill_holes_agrees_with_simpleitk(seed: int, per_slice: bool) -> None:
    rng = np.random.default_rng(seed)
    solid = morphology.isotropic_closing(rng.random((10, 20, 20)) > 0.7, 1.0) & (rng.random((10, 20, 20)) > 0.1)
    filled = fill_holes(solid[None].astype(np.uint8), LabelSchema.of({"organ": 1}), per_slice=per_slice)
    image = sitk.GetImageFromArray(solid.astype(np.uint8))
    if per_slice:
        slices = [sitk.BinaryFillhole(image[:, :, z], fullyConnected=False) for z in range(10)]
        expected = np.stack([sitk.GetArrayFromImage(s) for s in slices])
    else:
        expected = sitk.GetArrayFromImage(sitk.BinaryFillhole(image, fullyConnected=False))
    assert expected.sum() > solid.sum()
    np.testing.assert_array_equal(filled[0], expected)


def test_fill_holes_keeps_what_another_structure_or_nobody_labelled() -> None:
    schema = LabelSchema.of({"wall": 1, "blood": 2}, ignore=9)
    labels = np.array([[1, 1, 1, 1, 1], [1, 2, 0, 9, 1], [1, 1, 1, 1, 1]])
    filled = fill_holes(schema.encode(labels[None]), schema, per_slice=True)
    assert filled[0, 0, 1].tolist() == [1, 2, 1, IGNORE, 1]


def test_overlapping_structures_are_treated_apart() -> None:
    labels = np.array([[[1, 2, 0, 2]]])
    encoded = OVERLAP.encode(labels)
    kept = keep_largest(encoded, OVERLAP, structures=["whole"])
    assert kept[0].ravel().tolist() == [1, 1, 0, 0]
    assert kept[1].ravel().tolist() == [0, 1, 0, 1]


@given(labels3d)
def test_rules_are_idempotent_and_only_remove_or_add(labels: NDArray[np.uint8]) -> None:
    encoded = labels[None]
    largest = keep_largest(encoded, TWO)
    np.testing.assert_array_equal(keep_largest(largest, TWO), largest)
    assert set(np.unique(largest[largest != encoded])) <= {0}
    filled = fill_holes(encoded, TWO)
    np.testing.assert_array_equal(filled[encoded != 0], encoded[encoded != 0])
    np.testing.assert_array_equal(encoded, labels[None])  # the input is not touched


def test_a_wrong_call_says_what_is_wrong() -> None:
    labels = np.zeros((1, 1, 1, 2), np.uint8)
    with pytest.raises(LabelError, match="no structure 'spleen'"):
        keep_largest(labels, TWO, structures=["spleen"])
    with pytest.raises(LabelError, match=r"needs \(2, slice, row, column\)"):
        keep_largest(labels, OVERLAP)
    with pytest.raises(ValueRangeError, match="connectivity is 4"):
        component_sizes(labels[0] > 0, connectivity=4)  # type: ignore[arg-type]
    with pytest.raises(ValueRangeError, match="min_ml is -1"):
        remove_small(labels, TWO, one(2), min_ml=-1)
