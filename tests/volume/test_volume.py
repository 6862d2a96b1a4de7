"""Images on grids: what moves an index moves no voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.volume.lattices import ORIENTATIONS, assert_same_places, is_a_close_call, volumes

from isocenter.errors import GeometryError
from isocenter.volume import Grid, Volume

widths = st.tuples(*[st.integers(0, 3)] * 3)
subsets = st.sets(st.sampled_from([0, 1, 2])).map(sorted)


@given(volumes(), st.data())
def test_a_crop_keeps_places(volume: Volume, data: st.DataObject) -> None:
    start = [data.draw(st.integers(0, n - 1)) for n in volume.grid.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, volume.grid.shape, strict=True)]
    part = volume.crop(start, stop)
    np.testing.assert_array_equal(
        part.array, volume.array[(slice(None), *map(slice, start, stop))], err_msg="as numpy slices"
    )
    assert_same_places(part, volume)


@given(volumes(), widths, widths)
def test_padding_keeps_places_and_is_undone_by_a_crop(volume: Volume, before, after) -> None:
    padded = volume.pad(before, after, fill=-1)
    assert padded.grid == volume.grid.pad(before, after)
    assert_same_places(padded, volume, ignoring=-1)
    assert int((padded.array[0] != -1).sum()) == volume.array[0].size
    back = padded.crop(before, [b + n for b, n in zip(before, volume.grid.shape, strict=True)])
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid.is_close(volume.grid, tolerance_mm=1e-8)


@given(volumes(), st.data())
def test_a_crop_that_reaches_outside_is_a_crop_of_the_padded_image(volume: Volume, data: st.DataObject) -> None:
    shape = volume.grid.shape
    start = [data.draw(st.integers(-3, n - 1)) for n in shape]
    stop = [data.draw(st.integers(max(a, 0) + 1, n + 3)) for a, n in zip(start, shape, strict=True)]
    part = volume.crop(start, stop, fill=-1)
    wide = np.pad(volume.array, [(0, 0)] + [(3, 3)] * 3, constant_values=-1)
    np.testing.assert_array_equal(
        part.array, wide[(slice(None), *[slice(a + 3, b + 3) for a, b in zip(start, stop, strict=True)])]
    )
    assert_same_places(part, volume, ignoring=-1)


@given(volumes(), subsets)
def test_flips_keep_places_and_undo_themselves(volume: Volume, axes: list[int]) -> None:
    flipped = volume.flip(axes)
    assert_same_places(flipped, volume)
    np.testing.assert_array_equal(flipped.flip(axes).array, volume.array)
    assert flipped.flip(axes).grid.is_close(volume.grid, tolerance_mm=1e-8)


@given(volumes(), st.permutations([0, 1, 2]))
def test_permutations_keep_places_and_undo_themselves(volume: Volume, order: list[int]) -> None:
    permuted = volume.permute(order)
    assert_same_places(permuted, volume)
    back = permuted.permute([order.index(a) for a in range(3)])
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid == volume.grid


@given(volumes(), st.sampled_from(ORIENTATIONS))
def test_reorienting_keeps_places_and_there_and_back_is_exact(volume: Volume, orientation: str) -> None:
    assume(not is_a_close_call(volume.grid))
    there = volume.reorient(orientation)
    assert there.grid.orientation == orientation
    assert_same_places(there, volume)
    back = there.reorient(volume.grid.orientation)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid.is_close(volume.grid, tolerance_mm=1e-8)
    assert volume.reorient(volume.grid.orientation).grid == volume.grid


def test_three_dimensions_are_one_channel_and_units_stay() -> None:
    grid = Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1), frame="1.2.3")
    volume = Volume(np.zeros((2, 3, 4)), grid, "HU")
    assert volume.array.shape == (1, 2, 3, 4)
    for changed in (volume.crop((0, 0, 0), (1, 2, 2)), volume.pad((1, 0, 0), (0, 0, 0)), volume.reorient("LPS")):
        assert changed.unit == "HU"
        assert changed.grid.frame == "1.2.3"


@pytest.mark.parametrize("shape", [(2, 3), (3, 2, 4), (1, 1, 2, 3, 4)])
def test_an_array_that_does_not_fit_its_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="does not fit"):
        Volume(np.zeros(shape), Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1)))


def test_crops_without_a_voxel_and_wrong_axes_are_refused() -> None:
    volume = Volume(np.zeros((2, 3, 4)), Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1)))
    for start, stop in [
        ((0, 0, 4), (2, 3, 6)),
        ((0, -4, 0), (2, 0, 4)),
        ((0, 0, 2), (2, 3, 2)),
        ((0, 2, 0), (2, 1, 4)),
    ]:
        with pytest.raises(GeometryError):
            volume.crop(start, stop)
    with pytest.raises(GeometryError, match="flip"):
        volume.flip([-1])
    with pytest.raises(GeometryError, match="permutation"):
        volume.permute([0, 1, 3])
