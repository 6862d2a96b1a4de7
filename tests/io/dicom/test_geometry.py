"""Tilted, uneven and incomplete stacks: exact where that is possible, otherwise done on request and flagged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy.ndimage import map_coordinates

from isocenter.io.dicom import GeometryPolicy, Stack, find_series
from isocenter.io.dicom.geometry import arrange
from isocenter.io.dicom.planes import Planes
from isocenter.records import GeometryError
from isocenter.volume import Grid

Make = Callable[..., Any]
Edit = Callable[[int, Dataset], None]


def _only(folder: Path) -> Stack:
    (series,) = find_series(folder)
    return series.stack()


def _moved(delta: Callable[[int], list[float]]) -> Edit:
    def edit(z: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [
            f"{float(v) + d:.10g}" for v, d in zip(ds.ImagePositionPatient, delta(z), strict=True)
        ]

    return edit


def _smooth(edit: Edit) -> Edit:
    """Values linear in patient space, so that linear interpolation has nothing to lose."""

    def both(z: int, ds: Dataset) -> None:
        edit(z, ds)
        x, y, height = (float(v) for v in ds.ImagePositionPatient)
        rows, columns = np.mgrid[: ds.Rows, : ds.Columns]
        field = 2000 + 5 * (x + 100 + 0.9 * columns) + 3 * (y + 80 + 0.7 * rows) + 20 * (height - 20)
        ds.RescaleSlope, ds.RescaleIntercept = 0.01, 0
        ds.PixelData = np.rint(field * 10).astype("<u2").tobytes()
        ds.BitsStored, ds.HighBit = 16, 15

    return both


def _field(grid: Grid) -> np.ndarray:
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    x, y, z = np.moveaxis(grid.to_world(index.reshape(-1, 3)), -1, 0)
    return ((2000 + 5 * (x + 100) + 3 * (y + 80) + 20 * (z - 20)) / 10).reshape(grid.shape)


TILT = _moved(lambda z: [0, 0.6 * z, 0])


def test_tilt_is_kept_exactly_as_a_shear(make_series: Make, assert_right: Make) -> None:
    truth = make_series(TILT)
    stack = _only(truth.folder)
    assert_right(stack.volume(), truth.datasets)
    (flag,) = stack.flags()
    assert "13.50 degrees" in flag
    assert "sheared" in flag


def test_tilt_is_refused_where_the_policy_says_so(make_series: Make) -> None:
    stack = _only(make_series(TILT).folder)
    with pytest.raises(GeometryError, match=r"runs 13.50 degrees off the slice normal"):
        stack.volume(GeometryPolicy(tilt="refuse"))


def test_rectified_tilt_is_upright_and_within_interpolation_error(make_series: Make) -> None:
    policy = GeometryPolicy(tilt="rectify")
    stack = _only(make_series(_smooth(TILT), shape=(30, 20)).folder)
    volume = stack.volume(policy)
    assert volume.grid == stack.grid(policy)
    steps = volume.grid.directions
    np.testing.assert_allclose(steps.T @ steps, np.eye(3), atol=1e-9)
    # inside the sheared source values are those of the field; outside there is nothing
    inside = np.zeros(volume.grid.shape, bool)
    index = stack.grid().to_index(volume.grid.to_world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)))
    inside = ((index >= 0) & (index <= np.array(stack.grid().shape) - 1)).all(axis=-1)
    assert inside.mean() > 0.7
    assert np.abs(volume.array[0] - _field(volume.grid))[inside].max() < 0.02
    assert "rectified" in stack.flags(policy)[0]
    # every voxel of the source has a place in it
    corners = stack.grid().to_world([(0, 0, 0), (5, 29, 19), (5, 0, 0), (0, 29, 19)])
    found = volume.grid.to_index(corners)
    assert (found > -1e-6).all()
    assert (found < np.array(volume.grid.shape) - 1 + 1e-6).all()


def test_variable_spacing_is_exact_as_a_stack(make_series: Make) -> None:
    truth = make_series(_moved(lambda z: [0, 0, 0.1 * z * z]))
    stack = _only(truth.folder)
    with pytest.raises(GeometryError, match=r"varies from 2.600 to 3.400 mm.*'resample'"):
        stack.volume()
    assert stack.planes.position[:, 2] == pytest.approx([float(d.ImagePositionPatient[2]) for d in truth.datasets])
    want = [d.pixel_array.astype(int) - 1024 for d in truth.datasets]
    np.testing.assert_array_equal(stack.values(), want)


def test_variable_spacing_resampled_on_request(make_series: Make) -> None:
    policy = GeometryPolicy(spacing="resample")
    stack = _only(make_series(_smooth(_moved(lambda z: [0, 0, 0.1 * z * z]))).folder)
    volume = stack.volume(policy)
    assert volume.grid.spacing_mm[0] == pytest.approx(15 / 6)  # from 20.125 to 35.125 in the smallest steps
    assert np.abs(volume.array[0] - _field(volume.grid)).max() < 0.02
    assert "2.600 to 3.400 mm resampled to 2.500 mm" in stack.flags(policy)[0]


def test_tilt_with_variable_spacing(make_series: Make) -> None:
    def move(z: int) -> list[float]:
        more = 0.2 * z * z
        return [0, 0.24 * (2.5 * z + more), more]

    stack = _only(make_series(_smooth(_moved(move)), shape=(30, 20)).folder)
    assert [p.code for p in stack.problems()] == ["variable-spacing"]
    sheared = stack.volume(GeometryPolicy(spacing="resample"))
    assert np.abs(sheared.array[0] - _field(sheared.grid)).max() < 0.02
    policy = GeometryPolicy(spacing="resample", tilt="rectify")
    assert stack.volume(policy).grid.shape[1] > 30
    assert [f.split()[0] for f in stack.flags(policy)] == ["slices", "slice"]


def test_missing_slice_filled_on_request(make_series: Make, assert_right: Make) -> None:
    truth = make_series(_smooth(lambda z, ds: None), count=8)
    gone = [Path(truth.files[k]) for k in (3, 5)]
    for file in gone:
        file.unlink()
    stack = _only(truth.folder)
    with pytest.raises(GeometryError, match=r"2 slice\(s\) missing.*'fill'"):
        stack.volume()
    policy = GeometryPolicy(missing="fill")
    volume = stack.volume(policy)
    assert volume.grid.shape[0] == 8
    assert np.abs(volume.array[0] - _field(volume.grid)).max() < 0.02
    kept = [z for z in range(8) if z not in (3, 5)]
    np.testing.assert_array_equal(volume.array[0][kept], stack.values())
    assert "2 missing slice(s) of 8 filled" in stack.flags(policy)[0]
    part = stack.volume(policy, slices=(2, 5))
    np.testing.assert_array_equal(part.array, volume.array[:, 2:5])
    assert part.grid.is_close(volume.grid.crop((2, 0, 0), (5, 5, 7)))


def test_wandering_slices_are_never_made_regular(make_series: Make) -> None:
    stack = _only(make_series(_moved(lambda z: [0.5 * (z == 2), 0, 0])).folder)
    with pytest.raises(GeometryError, match="mm off a regular grid"):
        stack.volume(GeometryPolicy(tilt="rectify", spacing="resample", missing="fill"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.5, 8.0), min_size=2, max_size=12),
    st.floats(-30, 30),
    st.floats(-0.5, 0.5),
)
@example([2.0, 2.0, 4.0625], 0.0, 0.0)  # nearly, but not quite, one missing
@example([1.0, 1.0, 8.0], 10.0, 0.1)
def test_resampled_places_lie_where_the_slices_were(gaps: list[float], tilt: float, turn: float) -> None:
    depth = np.concatenate([[0], np.cumsum(gaps)])
    across = np.array([np.cos(turn), np.sin(turn), 0])
    down = np.array([-np.sin(turn), np.cos(turn), 0])
    way = np.array([0, 0, 1]) + np.tan(np.radians(tilt)) * down
    count = len(depth)
    planes = Planes(
        position=depth[:, None] * way + [5, 6, 7],
        across=np.tile(across, (count, 1)),
        down=np.tile(down, (count, 1)),
        spacing=np.ones((count, 2)),
        shape=(16, 16),
    )
    found = arrange(planes, GeometryPolicy(spacing="resample", missing="fill"))
    if found.problems:  # more would be missing than is there
        steps = np.diff(depth) / np.median(np.diff(depth))
        assert [p.code for p in found.problems] == ["missing-slice"]
        assert (np.rint(steps) - 1).sum() > len(gaps)
        return
    places = np.arange(count) if found.places is None else found.places
    assert places[0] == pytest.approx(0, abs=1e-6)
    assert places[-1] == pytest.approx(count - 1, abs=1e-6)
    given_places = np.array([(found.affine @ [z, 0, 0, 1])[:3] for z in range(found.count)])
    stated = np.stack([map_coordinates(planes.position[:, k], [places], order=1) for k in range(3)], axis=1)
    np.testing.assert_allclose(given_places, stated, atol=0.02)


@pytest.mark.real
def test_tilted_and_uneven_head_ct(real_data: Callable[[str], Path]) -> None:
    """18.5 degrees of tilt and gaps of 1.1 to 7 mm; truth are the headers."""
    stack = _only(real_data("dcm_qa_ct/In/GE"))
    assert [p.code for p in stack.problems()] == ["variable-spacing"]
    datasets = [dcmread(h.file) for h in stack.headers]
    np.testing.assert_allclose(stack.planes.position, [d.ImagePositionPatient for d in datasets], atol=1e-9)
    want = np.stack([d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in datasets])
    np.testing.assert_array_equal(stack.values(), want)
    volume = stack.volume(GeometryPolicy(spacing="resample"))
    # at the places of the slices themselves the volume is what they say, up to the rounding of their depth
    for z, ds in enumerate(datasets):
        index = volume.grid.to_index(np.array(ds.ImagePositionPatient, float))
        assert index[1:] == pytest.approx([0, 0], abs=0.05)
        off = abs(index[0] - round(index[0])) * volume.grid.spacing_mm[0]
        if off < 0.01:
            np.testing.assert_allclose(volume.array[0, round(index[0])], want[z], atol=30)
