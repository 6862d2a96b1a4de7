"""Spatial maps against scipy; images, labels, boxes and points of a patch move together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from isocenter.augment import SpatialMap, draw_map, identity_map
from isocenter.plan import AugmentationSpec

FULL = AugmentationSpec(rotation_deg=(30, 30, 30), scale=0.3, mirror=(0, 1, 2), spatial_probability=1.0)
seeds = st.integers(0, 2**31)
sizes = st.tuples(*[st.integers(1, 7)] * 3)


class Drawn:
    """Stands in for a generator: every number is the largest of its range."""

    def __init__(self, *, share: float = 0.0) -> None:
        self.share = share

    def random(self) -> float:
        return self.share

    def uniform(self, low: float, high: float) -> float:
        return high


def random_matrix(seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    if kind == "turned":
        matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix() * rng.uniform(0.5, 1.6, 3)
    elif kind == "in plane":
        matrix[1:3, 1:3] = Rotation.random(random_state=seed).as_matrix()[:2, :2] + np.eye(2)
        matrix[0, 0] = rng.choice([-1, 1])
    else:
        matrix[:3, :3] = np.diag(rng.uniform(0.5, 1.6, 3) * rng.choice([-1, 1], 3))
    matrix[:3, 3] = rng.uniform(-2, 6, 3)
    if kind == "in plane":
        matrix[0, 3] = np.round(matrix[0, 3])
    return matrix


def places(matrix: np.ndarray, shape) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]


def gap(matrix: np.ndarray, shape, size) -> np.ndarray:
    """How far, in voxels, each place lies outside the source's voxels (negative inside)."""
    where = places(matrix, shape)
    return np.maximum(-0.5 - where, where - (np.array(size) - 0.5)).max(-1)


kinds = st.sampled_from(["turned", "in plane", "straight"])


@given(kinds, seeds, sizes, sizes)
def test_bilinear_values_agree_with_scipy(kind: str, seed: int, size, shape) -> None:
    source = np.random.default_rng(seed).normal(size=(2, *size)).astype(np.float32)
    matrix = random_matrix(seed, kind)
    found = SpatialMap(matrix, shape).sample(torch.from_numpy(source)).numpy()
    assert found.dtype == np.float32
    for channel, values in zip(found, source, strict=True):
        expected = ndimage.affine_transform(values, matrix[:3, :3], matrix[:3, 3], shape, order=1, mode="nearest")
        np.testing.assert_allclose(channel, expected, atol=1e-4)


@given(kinds, seeds, sizes, sizes, st.sampled_from([torch.uint8, torch.int16, torch.float64, torch.bool]))
def test_nearest_values_agree_with_scipy(kind: str, seed: int, size, shape, dtype: torch.dtype) -> None:
    source = torch.from_numpy(np.random.default_rng(seed).integers(0, 99, (2, *size))).to(dtype)
    matrix = random_matrix(seed, kind)
    found = SpatialMap(matrix, shape).sample(source, "nearest")
    assert found.dtype == dtype
    for channel, values in zip(found.numpy(), source.numpy(), strict=True):
        expected = ndimage.affine_transform(
            values.astype(float), matrix[:3, :3], matrix[:3, 3], shape, order=0, mode="nearest"
        )
        np.testing.assert_array_equal(channel.astype(float), expected)


@given(kinds, seeds, sizes, sizes, st.sampled_from(["bilinear", "nearest"]))
def test_beyond_the_outermost_voxels_the_outside_value_is_taken(kind: str, seed: int, size, shape, mode: str) -> None:
    matrix = random_matrix(seed, kind)
    source = torch.ones(1, *size, dtype=torch.uint8 if mode == "nearest" else torch.float32)
    found = SpatialMap(matrix, shape).sample(source, mode, outside=7)[0].numpy()
    beyond = gap(matrix, shape, size)
    assert (found[beyond > 1e-4] == 7).all()
    np.testing.assert_allclose(found[beyond < -1e-4], 1, atol=1e-6)
    repeated = SpatialMap(matrix, shape).sample(source, mode)[0].numpy()
    np.testing.assert_allclose(repeated, 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("away", [-9, -1, 4, 5, 12])
def test_a_patch_wholly_outside_is_all_outside(mode: str, away: int) -> None:
    source = torch.ones(1, 4, 4, 4, dtype=torch.uint8 if mode == "nearest" else torch.float32)
    for axis in range(3):
        matrix = np.eye(4)
        matrix[axis, 3] = away
        shape = [3, 3, 3]
        shape[axis] = 1
        assert SpatialMap(matrix, tuple(shape)).sample(source, mode, outside=9).eq(9).all()


@given(seeds, sizes, sizes)
def test_a_plain_cut_is_a_slice(seed: int, size, shape) -> None:
    rng = np.random.default_rng(seed)
    centre = [int(rng.integers(n)) for n in size]
    source = torch.from_numpy(rng.normal(size=(1, *size)).astype(np.float32))
    cut = identity_map(centre=centre, shape=shape)
    start = [c - (n - 1) // 2 for c, n in zip(centre, shape, strict=True)]
    padded = np.pad(source[0].numpy(), 8, mode="edge")[
        tuple(slice(a + 8, a + 8 + n) for a, n in zip(start, shape, strict=True))
    ]
    np.testing.assert_array_equal(cut.sample(source, "nearest")[0].numpy(), padded)
    np.testing.assert_allclose(cut.sample(source)[0].numpy(), padded, atol=1e-5)
    assert not cut.mirrored


@settings(max_examples=60)
@given(seeds)
def test_a_bright_voxel_is_found_where_points_and_boxes_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    voxel = rng.integers(6, 18, 3)
    source = torch.zeros(1, 24, 24, 24)
    source[(0, *voxel)] = 1
    drawn = draw_map(rng, FULL, centre=voxel, shape=(17, 17, 17), spacing_mm=tuple(rng.uniform(0.8, 1.3, 3)))
    (point,) = drawn.points(voxel[None].astype(float))
    np.testing.assert_allclose(point, 8, atol=1e-9, err_msg="the centre comes to the middle")
    shifted = np.add(voxel, [2, -1, 1])
    source[(0, *shifted)] = 1
    # the sum of bilinear weights of a bright voxel has its centre of mass there
    blurred = torch.from_numpy(ndimage.gaussian_filter(source[0].numpy(), 1.5))[None]
    found = drawn.sample(blurred)[0].numpy()
    expected = drawn.points(np.stack([voxel, shifted]).astype(float)).mean(0)
    np.testing.assert_allclose(ndimage.center_of_mass(found), expected, atol=0.25)
    corners = np.array([[*(shifted - 0.5), *(shifted + 0.5)]], float)
    (box,) = drawn.corners(corners)
    moved = drawn.points(shifted[None].astype(float))[0]
    assert (box[:3] < moved).all()
    assert (moved < box[3:]).all()
    back = drawn.matrix[:3, :3] @ moved + drawn.matrix[:3, 3]
    np.testing.assert_allclose(back, shifted, atol=1e-9)


@given(seeds)
def test_boxes_hold_all_points_of_the_moved_box_and_no_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 5, (3, 3))
    corners = np.concatenate([low, low + rng.uniform(0.5, 6, (3, 3))], axis=1)
    drawn = SpatialMap(random_matrix(seed, "turned"), (5, 5, 5))
    for box, moved in zip(corners, drawn.corners(corners), strict=True):
        points = drawn.points(rng.uniform(box[:3], box[3:], (500, 3)))
        assert (points >= moved[:3] - 1e-9).all()
        assert (points <= moved[3:] + 1e-9).all()
        ends = np.stack(np.meshgrid(*[(box[a], box[a + 3]) for a in range(3)]), -1).reshape(-1, 3)
        np.testing.assert_allclose(drawn.points(ends).min(0), moved[:3])
        np.testing.assert_allclose(drawn.points(ends).max(0), moved[3:])
    assert drawn.corners(np.zeros((0, 6))).shape == (0, 6)


@given(seeds)
def test_labels_stay_on_their_image(seed: int) -> None:
    """Where label and image are the same thing before a map, they are after it."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(9, 12, 11)), 2)
    image /= np.abs(image).max()
    drawn = draw_map(rng, FULL, centre=(4, 6, 5), shape=(7, 8, 9), spacing_mm=(1.5, 1, 1))
    moved = drawn.sample(torch.from_numpy(image)[None])[0].numpy()
    labels = drawn.sample(torch.from_numpy(image > 0)[None], "nearest")[0].numpy()
    clear = np.abs(moved) > 0.25
    np.testing.assert_array_equal(labels[clear], moved[clear] > 0)


def draw(rng, spec: AugmentationSpec = FULL, **settings) -> SpatialMap:
    return draw_map(rng, spec, **{"centre": (5, 5, 5), "shape": (7, 7, 7), "spacing_mm": (1, 1, 1), **settings})


def test_maps_follow_their_key() -> None:
    def key(step: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[3, 0], counter=[0, 0, step, 0]))

    first, again, other = (draw(key(step)) for step in (1, 1, 2))
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert first.mirrored == again.mirrored
    assert not np.allclose(first.matrix, other.matrix)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotations_turn_millimetres_on_an_anisotropic_grid(axis: int) -> None:
    spacing = np.array([4.0, 1.0, 2.0])
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 90.0
    spec = AugmentationSpec(rotation_deg=degrees, spatial_probability=1)
    quarter = draw(Drawn(), spec, spacing_mm=tuple(spacing), centre=(5, 6, 7))
    offsets = np.random.default_rng(0).uniform(-3, 3, (20, 3))
    moved = (quarter.matrix[:3, :3] @ offsets.T).T * spacing
    before = offsets * spacing
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(before, axis=1))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    np.testing.assert_allclose(moved[:, axis], before[:, axis], atol=1e-12)
    np.testing.assert_allclose(moved[:, a], -before[:, b], atol=1e-12)
    np.testing.assert_allclose(moved[:, b], before[:, a], atol=1e-12)
    np.testing.assert_allclose(quarter.matrix[:3, :3] @ [3, 3, 3] + quarter.matrix[:3, 3], (5, 6, 7))


def test_scale_enlarges_and_all_angles_are_within_their_range() -> None:
    larger = draw(Drawn(), AugmentationSpec(scale=0.5, spatial_probability=1))
    np.testing.assert_allclose(larger.matrix[:3, :3], np.eye(3) / 1.5)
    spec = AugmentationSpec(rotation_deg=(20, 0, 0), scale=0.1, spatial_probability=1)
    for seed in range(50):
        drawn = draw(np.random.default_rng(seed), spec)
        factor = np.linalg.det(drawn.matrix[:3, :3]) ** (-1 / 3)
        angle = np.degrees(np.arccos(np.clip((np.trace(drawn.matrix[:3, :3]) * factor - 1) / 2, -1, 1)))
        assert 0.9 <= factor <= 1.1
        assert angle <= 20 + 1e-6


def test_nothing_asked_for_is_a_plain_cut_at_whole_voxels() -> None:
    for seed in range(5):
        drawn = draw(np.random.default_rng(seed), AugmentationSpec(), centre=(4.4, 5.2, 6.6))
        np.testing.assert_allclose(drawn.matrix[:3, :3], np.eye(3))
        where = drawn.matrix[:3, 3]
        assert np.allclose(where, np.array([4.4, 5.2, 6.6]) - 3) or np.allclose(where, [1, 2, 4])
        assert not drawn.mirrored
    still = draw(Drawn(share=1.0), FULL, centre=(4.4, 5.2, 6.6))
    np.testing.assert_array_equal(still.matrix, identity_map(centre=(4.4, 5.2, 6.6), shape=(7, 7, 7)).matrix)


def test_two_dimensional_patches_stay_on_a_slice() -> None:
    flat = AugmentationSpec(rotation_deg=(40, 0, 0), scale=0.2, spatial_probability=1)
    for seed in range(5):
        drawn = draw(np.random.default_rng(seed), flat, shape=(1, 8, 8), centre=(4.0, 3, 3), spacing_mm=(8, 1, 1))
        assert places(drawn.matrix, (1, 8, 8))[..., 0] == pytest.approx(4)


@pytest.mark.parametrize(
    ("mirror", "lateral", "mirrored"),
    [
        ((), 2, False), ((2,), 2, True), ((0,), 2, False), ((0, 1), 2, False), ((0, 2), 2, True), ((0, 1, 2), 2, True),
        ((1,), 1, True), ((), None, False), ((0,), None, True), ((0, 1), None, False), ((0, 1, 2), None, True),
    ],
)  # fmt: skip
def test_the_map_says_whether_left_becomes_right(mirror, lateral, mirrored: bool) -> None:
    drawn = draw(Drawn(), AugmentationSpec(mirror=mirror, spatial_probability=0), lateral_axis=lateral)
    assert drawn.mirrored is mirrored
    signs = [-1 if axis in mirror else 1 for axis in range(3)]
    np.testing.assert_allclose(drawn.matrix[:3, :3], np.diag(signs))
    source = torch.arange(11.0**3).reshape(1, 11, 11, 11)
    expected = source[:, 2:9, 2:9, 2:9].flip([1 + axis for axis in mirror])
    assert torch.equal(drawn.sample(source, "nearest"), expected)


def test_mirroring_happens_half_the_time() -> None:
    spec = AugmentationSpec(mirror=(2,))
    flipped = [draw(np.random.default_rng(seed), spec, lateral_axis=2).mirrored for seed in range(400)]
    assert 160 < sum(flipped) < 240


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["turned", "in plane"]), seeds, st.sampled_from([(9, 10, 11), (1, 12, 13), (6, 1, 5)]))
def test_values_agree_with_grid_sample(kind: str, seed: int, size) -> None:
    matrix = random_matrix(seed, kind)
    source = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, *size)).astype(np.float32))
    where = places(matrix, (5, 6, 7))
    scaled = [2 * where[..., a] / max(n - 1, 1) - (n > 1) for a, n in enumerate(size)]
    grid = torch.from_numpy(np.stack(scaled[::-1], -1).astype(np.float32))
    expected = torch.nn.functional.grid_sample(
        source[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0]
    torch.testing.assert_close(SpatialMap(matrix, (5, 6, 7)).sample(source), expected, atol=1e-4, rtol=1e-4)


class Stored:
    """A source that only gives boxes, and remembers which."""

    def __init__(self, values: np.ndarray, *, as_tensor: bool) -> None:
        self.values, self.as_tensor, self.read = values, as_tensor, []

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __getitem__(self, box) -> np.ndarray | torch.Tensor:
        part = self.values[box]
        self.read.append(part.shape)
        return torch.from_numpy(part.copy()) if self.as_tensor else part


@settings(max_examples=40, deadline=None)
@given(seeds, st.booleans(), st.booleans(), st.sampled_from([np.float32, np.int16, np.float64, np.uint8]))
@example(4550, False, False, np.float32)  # lies wholly beyond the last slice
def test_only_the_box_that_a_patch_touches_is_read_of_a_stored_source(seed, as_tensor, elastic, dtype) -> None:
    spec = FULL.model_copy(update={"elastic_mm": (3.0, 3.0, 3.0), "elastic_grid_mm": 9.0}) if elastic else FULL
    values = np.random.default_rng(seed).integers(0, 99, (2, 40, 44, 48)).astype(dtype)
    centre = np.random.default_rng(seed).integers(-3, 48, 3)
    drawn = draw(np.random.default_rng(seed), spec, centre=centre, shape=(5, 6, 7))
    whole = torch.from_numpy(values)
    for mode in ("bilinear", "nearest"):
        for outside in (None, 7):
            stored = Stored(values, as_tensor=as_tensor)
            found = drawn.sample(stored, mode, outside=outside)
            expected = drawn.sample(whole, mode, outside=outside)
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected), "weights must not depend on what is held in memory"
            ((channels, *box),) = stored.read
            assert channels == 2
            assert np.prod(box) < 30**3  # 5x6x7 turned, enlarged by 1.3 and pushed by 3, with a voxel to spare


def test_a_compressed_array_on_disk_is_a_source(tmp_path) -> None:
    import blosc2

    values = np.random.default_rng(0).normal(size=(1, 20, 30, 30)).astype(np.float32)
    stored = blosc2.asarray(values, urlpath=str(tmp_path / "image.b2nd"), chunks=(1, 8, 8, 8))
    drawn = draw(np.random.default_rng(1), centre=(10, 15, 15))
    assert torch.equal(drawn.sample(stored), drawn.sample(torch.from_numpy(values)))


@pytest.mark.parametrize("make", ["sliced", "transposed", "read-only", "expanded", "big-endian"])
def test_the_layout_of_a_source_in_memory_does_not_matter(make: str) -> None:
    values = np.random.default_rng(0).integers(0, 1000, (2, 12, 12, 12)).astype(np.float32)
    source = {
        "sliced": lambda: torch.from_numpy(np.repeat(values, 2, 3))[..., ::2],
        "transposed": lambda: torch.from_numpy(np.ascontiguousarray(values.T)).permute(3, 2, 1, 0),
        "read-only": lambda: np.frombuffer(values.tobytes(), np.float32).reshape(values.shape),
        "expanded": lambda: torch.from_numpy(values[:1]).expand(2, -1, -1, -1),
        "big-endian": lambda: values.astype(">f4"),
    }[make]()
    drawn = draw(np.random.default_rng(2))
    expected = torch.from_numpy(values[:1].repeat(2, 0) if make == "expanded" else values)
    torch.testing.assert_close(drawn.sample(source), drawn.sample(expected), atol=1e-3, rtol=1e-6)
    assert torch.equal(drawn.sample(source, "nearest").float(), drawn.sample(expected, "nearest"))


@pytest.mark.parametrize("shape", [(1, 33, 40), (70, 35, 21)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_patches_are_the_same_bits_for_any_number_of_threads(shape, mode: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    spec = FULL.model_copy(update={"elastic_mm": (3.0, 3.0, 3.0), "elastic_grid_mm": 9.0})
    source = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 40, 40, 40)).astype(np.float32))
    drawn = draw(np.random.default_rng(5), spec, centre=(20, 20, 20), shape=shape)
    one = drawn.sample(source, mode, outside=0.5, threads=1)
    for threads in (2, 3, 7, None):
        assert torch.equal(drawn.sample(source, mode, outside=0.5, threads=threads), one)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: drawn.sample(source, mode, outside=0.5, threads=2), range(8)):
            assert torch.equal(found, one)
