"""Values in one byte, and bytes in a page: what is lost, and that nothing else is."""

from __future__ import annotations

import base64
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from isocenter.records import LabelSchema, Structure
from isocenter.report.colours import colours_of
from isocenter.report.packing import pack_image, pack_labels
from isocenter.report.png import png_bytes
from isocenter.report.rows import number, percent
from isocenter.report.tones import tones_of
from isocenter.volume import Grid, Volume


def image(values: object, unit: str = "a.u.", dtype: type = np.float32) -> Volume:
    array = np.asarray(values, dtype).reshape(1, 1, -1)
    return Volume(array, Grid.regular(array.shape, spacing_mm=(1, 1, 1)), unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high", "error"), [(-1024, -200, 7), (-200, 300, 2.5), (300, 2000, 28)])
def test_ct_keeps_soft_tissue_finest(low: int, high: int, error: float) -> None:
    values = np.linspace(low, high, 2000)
    tones = tones_of(image(values, "HU"))
    assert len(tones.levels) == 256
    assert np.abs(tones.levels[tones.encode(values)] - values).max() <= error
    assert (np.diff(tones.levels) > 0).all()


def test_a_window_follows_what_was_found() -> None:
    tones = tones_of(image([0], "HU"))
    assert tones.suiting(-700).name == "Lung"
    assert tones.suiting(30, -650).name == "Lung"  # a nodule in the lung
    assert tones.suiting(400, 20).name == "Bone"
    assert tones.suiting(60, 0).name == tones.suiting(None).name == "Soft tissue"


def test_photographs_lose_nothing_and_other_images_little() -> None:
    bytes_ = np.arange(256)
    np.testing.assert_array_equal(tones_of(image(bytes_, dtype=np.uint8)).encode(bytes_), bytes_)
    values = np.random.default_rng(0).gamma(2, 200, 20000)
    tones = tones_of(image(values))
    inner = values[(values > tones.levels[0]) & (values < tones.levels[-1])]
    assert len(inner) > 0.999 * len(values)
    assert np.abs(tones.levels[tones.encode(inner)] - inner).max() <= 0.6 * np.diff(tones.levels).max()


@pytest.mark.parametrize("values", [[0, 0, 0], [np.nan, np.nan], [np.nan, 1, np.inf], [-5, -5]])
def test_odd_images_have_levels_too(values: list[float]) -> None:
    tones = tones_of(image(values))
    assert (np.diff(tones.levels) > 0).all()
    assert all(window.width > 0 for window in tones.windows)
    assert tones.encode(np.asarray(values, np.float32)).dtype == np.uint8


def test_pet_levels_reach_its_maximum() -> None:
    tones = tones_of(image(np.linspace(0, 30, 5000), "SUVbw"))
    assert tones.levels[-1] == pytest.approx(30, rel=0.01)
    assert tones.windows[0].name == "SUV 0 to 10"


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_packed_images_come_back(array: NDArray[np.uint8]) -> None:
    depth, rows, columns = array.shape
    residue = np.frombuffer(zlib.decompress(base64.b64decode(pack_image(array))), np.uint8).reshape(array.shape)
    back = np.zeros(array.shape, int)
    for z in range(depth):
        for y in range(rows):
            for x in range(columns):
                left, upper = (back[z, y, x - 1] if x else 0), (back[z, y - 1, x] if y else 0)
                back[z, y, x] = (int(residue[z, y, x]) + (left + upper) // 2) % 256
    np.testing.assert_array_equal(back, array)
    assert zlib.decompress(base64.b64decode(pack_labels(array))) == array.tobytes()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_png_is_read_by_pillow(picture: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png_bytes(picture)))), picture)


def test_colours_are_those_of_the_source_only_where_they_can_be_told_apart() -> None:
    apart = LabelSchema((Structure("a", (1,), colour=(255, 0, 0)), Structure("b", (2,), colour=(0, 0, 255))))
    near = LabelSchema((Structure("a", (1,), colour=(172, 138, 115)), Structure("b", (2,), colour=(197, 165, 145))))
    assert colours_of(apart) == ((255, 0, 0), (0, 0, 255))
    one, two = colours_of(near)
    assert np.linalg.norm(np.subtract(one, two)) > 60
    assert colours_of(near, before=2)[0] not in (one, two)


def test_numbers_keep_three_digits_that_count() -> None:
    shown = [number(v) for v in (0, 0.04567, 1.005, 12.34, 999.6, 15000.2, -3.14159, float("nan"), 1e-5)]
    assert shown == ["0", "0.0457", "1.00", "12.3", "1,000", "15,000", "\u22123.14", "–", "1e\u221205"]
    assert [percent(v).split("\u202f")[0] for v in (0, 0.0001, 0.004, 0.5, 0.9999, 1)] == [
        "0",
        "<0.1",
        "0.4",
        "50",
        ">99.9",
        "100",
    ]
