"""Windows cover the grid, evenly and no more often than asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.inference import plan_windows

sizes = st.tuples(*[st.integers(1, 40)] * 3)


@given(sizes, sizes, st.floats(0, 0.95))
def test_windows_cover_every_voxel_and_stay_inside(shape, window, overlap: float) -> None:
    found = plan_windows(shape, window, overlap)
    expected = tuple(min(w, n) for w, n in zip(window, shape, strict=True))
    assert {w.shape for w in found} == {expected}
    for axis, (n, w) in enumerate(zip(shape, expected, strict=True)):
        starts = sorted({p.start[axis] for p in found})
        assert starts[0] == 0
        assert starts[-1] == n - w
        steps = np.diff(starts)
        # at least the overlap asked for, but for rounding to whole voxels
        assert (steps <= max(1, math.ceil(w * (1 - overlap)))).all()
        assert (steps >= 1).all()
        assert not len(steps) or steps.max() - steps.min() <= 1, "evenly"
    assert len(found) == len(set(found)) == math.prod(len({p.start[a] for p in found}) for a in range(3))


@given(sizes, sizes, st.floats(0, 0.9))
def test_windows_come_in_order_of_their_first_slice(shape, window, overlap: float) -> None:
    starts = [w.start for w in plan_windows(shape, window, overlap)]
    assert starts == sorted(starts)


@given(st.integers(2, 60), st.integers(1, 60), st.floats(0, 0.9))
def test_no_window_is_without_need(n: int, w: int, overlap: float) -> None:
    count = len(plan_windows((1, 1, n), (1, 1, w), overlap))
    w = min(w, n)
    assert count == 1 or (count - 2) * max(1.0, w * (1 - overlap)) < n - w + 1e-6


@pytest.mark.parametrize(
    ("shape", "window", "overlap", "starts"),
    [
        ((10, 1, 1), (5, 1, 1), 0.0, [0, 5]),
        ((10, 1, 1), (5, 1, 1), 0.5, [0, 2, 5]),
        ((10, 1, 1), (10, 1, 1), 0.5, [0]),
        ((10, 1, 1), (64, 8, 8), 0.5, [0]),
        ((3, 1, 1), (1, 1, 1), 0.5, [0, 1, 2]),
    ],
)
def test_known_places(shape, window, overlap: float, starts: list[int]) -> None:
    assert [w.start[0] for w in plan_windows(shape, window, overlap)] == starts
