"""Labels from class maps: exactness of skipping, ties, agreement with torch and float64, memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.volume.references import linear_weights

from isocenter.errors import GeometryError
from isocenter.volume import classmaps
from isocenter.volume.classmaps import ClassMaps

sizes = st.tuples(*[st.integers(1, 7)] * 3)


def places_of(shape, out) -> list[np.ndarray]:
    return [np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1) for n, m in zip(shape, out, strict=True)]


def decided(maps: np.ndarray, places, depth: int = 99, **settings_) -> np.ndarray:
    found = ClassMaps(len(maps), places, maps.shape[1:], **settings_)
    for start in range(0, maps.shape[1], depth):
        found.add(maps[:, start : start + depth])
    return found.labels()


def interpolated(maps: np.ndarray, places) -> np.ndarray:
    """In float64, with everything kept."""
    weights = [linear_weights(p, n) for p, n in zip(places, maps.shape[1:], strict=True)]
    return np.einsum("ia,jb,kc,nabc->nijk", *weights, maps.astype(np.float64), optimize=True)


def blobs(classes: int, shape, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return (ndimage.gaussian_filter(noise, (0, 2, 2, 2)) * 20).astype(np.float32)


@settings(max_examples=150)
@given(
    sizes, st.tuples(*[st.integers(1, 15)] * 3), st.integers(1, 5), st.booleans(), st.integers(0, 999),
    st.sampled_from(["levels", "far", "tiny", "odd"]),
)  # fmt: skip
def test_skipping_never_changes_a_label(shape, out, classes: int, exclusive: bool, seed: int, kind: str) -> None:
    """Also where classes tie, or differ by many orders of magnitude."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(-2, 3, (classes, *shape)).astype(np.float32)
    if kind == "far":
        maps *= 10.0 ** rng.integers(-20, 20, maps.shape).astype(np.float32)
    elif kind == "tiny":
        maps *= np.float32(1e-38)
    elif kind == "odd":
        maps[rng.random(maps.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    places = places_of(shape, out)
    everywhere = decided(maps, places, exclusive=exclusive, skip=False)
    np.testing.assert_array_equal(decided(maps, places, exclusive=exclusive), everywhere)


@pytest.mark.parametrize("spread", [1e-7, 2e-7, 5e-7, 1e-6])
def test_nor_does_it_where_only_round_off_orders_the_classes(spread: float) -> None:
    """A class that leads at all corners by a few bits may tie in between once rounded, and then the first wins."""
    rng = np.random.default_rng(5)
    base = np.exp(rng.normal(size=(1, 30, 24, 24)))
    maps = (base * (1 + spread * rng.integers(-2, 3, (2, 30, 24, 24)))).astype(np.float32)
    maps[1] = np.where(maps[1] > maps[0], maps[1], np.nextafter(maps[0], np.float32(9)))
    places = places_of(maps.shape[1:], (67, 61, 63))
    np.testing.assert_array_equal(decided(maps, places), decided(maps, places, skip=False))


@settings(max_examples=50)
@given(sizes, st.tuples(*[st.integers(1, 15)] * 3), st.integers(2, 5), st.booleans(), st.integers(0, 99))
def test_the_largest_interpolated_value_wins(shape, out, classes: int, exclusive: bool, seed: int) -> None:
    maps = np.random.default_rng(seed).normal(size=(classes, *shape)).astype(np.float32)
    places = places_of(shape, out)
    values = interpolated(maps, places)
    found = decided(maps, places, exclusive=exclusive)
    if exclusive:
        top = np.sort(values, axis=0)
        clear = top[-1] - top[-2] > 1e-5
        np.testing.assert_array_equal(found[0][clear], values.argmax(0)[clear])
    else:
        clear = np.abs(values) > 1e-5
        np.testing.assert_array_equal(found[clear], (values > 0)[clear])


def test_between_equal_classes_the_first_wins() -> None:
    maps = np.zeros((4, 3, 3, 3), np.float32)
    maps[1:] = 1
    assert (decided(maps, places_of((3, 3, 3), (7, 7, 7))) == 1).all()
    maps[3, 0] = 2
    # halfway down to the next slice all three have what they had, but the last a little more
    assert decided(maps, [np.array([0.0, 0.5, 1.0, 2.0]), np.zeros(1), np.zeros(1)]).ravel().tolist() == [3, 3, 1, 1]
    assert (decided(np.zeros((2, 3, 3, 3), np.float32), places_of((3, 3, 3), (7, 7, 7)), exclusive=False) == 0).all()


@pytest.mark.parametrize("shape", [(40, 30, 20), (17, 40, 50)])
def test_labels_are_those_of_torch(shape) -> None:
    maps, out = blobs(5, shape), (61, 71, 67)
    whole = torch.nn.functional.interpolate(torch.from_numpy(maps).double()[None], size=out, mode="trilinear")[0]
    found = decided(maps, places_of(shape, out))[0]
    assert len(np.unique(found)) == 5
    np.testing.assert_array_equal(found, whole.argmax(0).numpy())
    found = decided(maps, places_of(shape, out), exclusive=False)
    np.testing.assert_array_equal(found, (whole > 0).numpy())


@pytest.mark.parametrize("exclusive", [True, False])
def test_neither_slabs_nor_threads_nor_what_is_kept_matter(exclusive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = blobs(3, (23, 80, 30))
    places = places_of(maps.shape[1:], (50, 90, 90))
    once = decided(maps, places, exclusive=exclusive, threads=1)
    for depth, threads, kept in ((1, 2, 1 << 20), (5, 3, 1 << 10), (7, 1, 1 << 17), (23, 4, 1 << 18)):
        monkeypatch.setattr(classmaps, "SCRATCH", kept)
        again = decided(maps, places, depth, exclusive=exclusive, threads=threads)
        np.testing.assert_array_equal(again, once)
    # a view whose axes lie elsewhere in memory
    view = np.ascontiguousarray(maps.transpose(1, 0, 3, 2)).transpose(1, 0, 3, 2)
    np.testing.assert_array_equal(decided(view, places, 4, exclusive=exclusive), once)


def test_little_is_kept_beside_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classmaps, "SCRATCH", 1 << 20)
    maps = blobs(5, (60, 64, 64))
    places = places_of(maps.shape[1:], (90, 160, 160))
    decided(maps[:, :2], [places[0][:1] * 0, *places[1:]])  # compile
    tracemalloc.start()
    try:
        labels = decided(maps, places, 8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < labels.nbytes + 2 * (1 << 20)


def test_what_does_not_fit_is_refused() -> None:
    places = places_of((4, 4, 4), (8, 8, 8))
    with pytest.raises(GeometryError, match="255 class maps"):
        ClassMaps(255, places, (4, 4, 4))
    maps = ClassMaps(2, places, (4, 4, 4))
    for shape in ((3, 4, 4, 4), (2, 4, 4, 5), (2, 4, 4)):
        with pytest.raises(GeometryError, match="expected \\(2, slices, 4, 4\\)"):
            maps.add(np.zeros(shape, np.float32))
    maps.add(np.zeros((2, 3, 4, 4), np.float32))
    with pytest.raises(GeometryError, match="end at slice 3, slice 3 is needed"):
        maps.labels()
    maps.add(np.zeros((2, 1, 4, 4), np.float32))
    assert maps.labels().shape == (1, 8, 8, 8)
