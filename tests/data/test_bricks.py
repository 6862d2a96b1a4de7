"""Arrays in bricks: every part of every array, from any number of threads, as NumPy has it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isocenter.data.bricks import CachedArray, write_bricks
from isocenter.errors import CacheError

DTYPES = ("<f4", "<f8", "<f2", "|u1", "|i1", "<u2", "<i2", "<i4", "<i8", "|b1")


def stored(path: Path, array: np.ndarray) -> CachedArray:
    return CachedArray.of(path, write_bricks(path, array))


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Any bits, NaN with payloads and -0.0 among them; half of it constant, as air is."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    kind = np.dtype(dtype)
    raw = rng.integers(0, 2 if kind.kind == "b" else 256, count * kind.itemsize, dtype=np.uint8)
    raw[: raw.size // 2] = 0
    return raw.view(kind).reshape(shape)


def same_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(wanted).tobytes()


@st.composite
def arrays_and_parts(draw: st.DrawFn) -> tuple[np.ndarray, object]:
    shape = draw(st.lists(st.integers(0, 70), max_size=2).map(tuple) | st.tuples(*[st.integers(1, 100)] * 3))
    if len(shape) == 3 and draw(st.booleans()):
        shape = (draw(st.integers(1, 3)), *shape)
    array = noise(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 5)))
    part = draw(hnp.basic_indices(shape, allow_newaxis=False))
    steps = [p for p in (part if isinstance(part, tuple) else (part,)) if isinstance(p, slice)]
    if any(s.step is not None and s.step < 0 for s in steps):
        part = ...
    return array, part


@settings(max_examples=60)
@given(arrays_and_parts())
def test_any_part_of_any_array_is_read_as_numpy_has_it(case: tuple[np.ndarray, object]) -> None:
    import tempfile

    array, part = case
    with tempfile.TemporaryDirectory() as folder:
        found = stored(Path(folder) / "a", array)
        assert (found.shape, found.dtype, found.ndim, found.nbytes) == (
            array.shape, array.dtype, array.ndim, array.nbytes,
        )  # fmt: skip
        same_bits(found.read(), array)
        same_bits(np.asarray(found[part]), np.asarray(array[part]))


@pytest.mark.parametrize(
    "shape", [(1, 130, 70, 150), (2, 12, 300, 200), (7, 9000), (200000,), (0, 6), (), (3, 0, 5, 5)]
)
@pytest.mark.parametrize("dtype", ["<f4", "|u1"])
def test_shapes_that_need_one_brick_or_many(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = noise(shape, dtype)
    found = stored(tmp_path / "a", array)
    same_bits(found.read(), array)
    same_bits(np.asarray(found), array)
    assert write_bricks(tmp_path / "b", array)["sha256"] == write_bricks(tmp_path / "c", array)["sha256"]


def test_arrays_in_another_order_of_memory(tmp_path: Path) -> None:
    array = noise((40, 50, 60), "<f4").transpose(2, 0, 1)[:, ::-1]
    same_bits(stored(tmp_path / "a", array).read(), array)
    same_bits(stored(tmp_path / "b", noise((40, 50, 60), ">i2")).read(), noise((40, 50, 60), ">i2"))


def test_noise_costs_no_more_than_its_size(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 4), dtype=np.uint8).view("<f4")[..., 0]
    assert write_bricks(tmp_path / "a", noisy)["bytes"] < 1.01 * noisy.nbytes
    assert write_bricks(tmp_path / "b", np.zeros_like(noisy))["bytes"] < 0.01 * noisy.nbytes


def test_indices_that_are_none(tmp_path: Path) -> None:
    found = stored(tmp_path / "a", np.zeros((4, 5)))
    for part, text in ((4, "outside axis 0"), ((0, 0, 0), "3 indices"), (slice(None, None, -1), "step -1")):
        with pytest.raises(IndexError, match=text):
            found[part]
    with pytest.raises(TypeError, match="object"):
        write_bricks(tmp_path / "b", np.array([None]))


def test_eight_threads_read_random_boxes(tmp_path: Path) -> None:
    """Two seconds long: whatever two reads share would be torn in the hands of one of them."""
    image, label = noise((1, 100, 140, 150), "<f4"), noise((1, 100, 140, 150), "|u1", 1)
    pairs = [(stored(tmp_path / "i", image), image), (stored(tmp_path / "l", label), label)]
    wrong: list[object] = []
    reads = [0] * 8
    end = time.monotonic() + 2

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while time.monotonic() < end and not wrong:
            found, truth = pairs[int(rng.integers(2))]
            low = [int(rng.integers(0, n)) for n in truth.shape[1:]]
            box = (slice(None), *(slice(a, a + int(rng.integers(1, 64))) for a in low))
            if found[box].tobytes() != truth[box].tobytes():
                wrong.append(box)
            reads[seed] += 1

    threads = [threading.Thread(target=read, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(reads) > 0
    assert blosc2.set_releasegil(True), "threads would wait for each other"


def test_files_that_are_gone_cut_or_forged(tmp_path: Path) -> None:
    path = tmp_path / "a"
    found = stored(path, noise((50, 60, 70), "<i2"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CacheError, match="damaged"):
        found.read()
    # a chunk that claims to hold more than a brick would be written beyond it
    path.write_bytes(whole[:4] + (10**6).to_bytes(4, "little") + whole[8:])
    with pytest.raises(CacheError, match="damaged"):
        found.read()
    path.unlink()
    with pytest.raises(CacheError, match="cannot be read"):
        found[:1]
    with pytest.raises(ValueError, match="do not make"):
        CachedArray.of(path, {"shape": [4, 4], "dtype": "<f4", "brick": [2, 4], "bricks": [7]})
