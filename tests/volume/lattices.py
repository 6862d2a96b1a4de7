"""Grids drawn at random: anisotropic, turned by any angle, sheared as by a gantry tilt, flipped, far from zero."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from isocenter.volume import Grid, Volume

ORIENTATIONS = [
    "".join(letters) for trio in permutations([("L", "R"), ("P", "A"), ("S", "I")]) for letters in product(*trio)
]
axes = st.tuples(*[st.integers(1, 5)] * 3)
angles = st.integers(-1800, 1800).map(lambda n: n / 10)  # not so small that sines underflow


def turned(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    *,
    degrees: tuple[float, float, float] = (0, 0, 0),
    shear: float = 0.0,
    origin_mm: tuple[float, float, float] = (0, 0, 0),
    order: tuple[int, int, int] = (2, 1, 0),
) -> Grid:
    """Slice, row and column along the world axes ``order``, then sheared (slices slide along rows), then turned."""
    steps = np.zeros((3, 3))
    steps[list(order), range(3)] = spacing_mm
    steps[:, 0] += shear * steps[:, 1]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ steps
    affine[:3, 3] = origin_mm
    return Grid(shape, affine)


@st.composite
def grids(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, int, int]] = axes, shear: bool = True) -> Grid:
    spacing = draw(st.tuples(*[st.floats(0.2, 8)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    return turned(
        draw(shapes),
        tuple(s * f for s, f in zip(spacing, signs, strict=True)),
        degrees=draw(st.tuples(*[angles] * 3)),
        shear=draw(st.floats(-0.6, 0.6)) if shear else 0.0,
        origin_mm=draw(st.tuples(*[st.floats(-2000, 2000)] * 3)),
        order=draw(st.permutations([0, 1, 2]).map(tuple)),
    )


def is_a_close_call(grid: Grid) -> bool:
    """Two ways to name the axes are equally near, so that the order of axes decides."""
    cosines = np.abs(grid.directions)
    sums = sorted(sum(cosines[world, axis] for axis, world in enumerate(worlds)) for worlds in permutations(range(3)))
    return bool(sums[-1] - sums[-2] < 1e-6)


def volumes(**settings) -> st.SearchStrategy[Volume]:
    """Every voxel has a value of its own, so that it can be followed."""
    return grids(**settings).map(
        lambda grid: Volume(np.arange(1, 2 * np.prod(grid.shape) + 1).reshape(2, *grid.shape), grid)
    )


def places(volume: Volume) -> dict[float, np.ndarray]:
    """World position of each value."""
    index = np.stack(np.indices(volume.grid.shape), -1)
    return dict(zip(volume.array[0].ravel().tolist(), volume.grid.to_world(index).reshape(-1, 3), strict=True))


def assert_same_places(moved: Volume, original: Volume, *, ignoring: float | None = None) -> None:
    """Every value of ``moved`` lies where it lay in ``original``."""
    before = places(original)
    after = {value: place for value, place in places(moved).items() if value != ignoring}
    assert after, "nothing is left to compare"
    np.testing.assert_allclose([after[v] for v in after], [before[v] for v in after], atol=1e-8)
