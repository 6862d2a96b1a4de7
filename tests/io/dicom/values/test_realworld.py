"""Real-world value maps: linear, tables, chosen among several, of files that others wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from tests.io.dicom.pixel_files import EXPLICIT, IMPLICIT, RLE, numbers, pixel_file

from isocenter.io.dicom.frames import frames_of
from isocenter.io.dicom.header import Header, read_header
from isocenter.io.dicom.values import stored_pixels
from isocenter.io.dicom.values.realworld import choose_map, real_world_maps, real_world_values
from isocenter.records import SeriesError

ADC = codes.UCUM.SquareMillimeterPerSecond


def _maps(*items: highdicom.pm.RealWorldValueMapping) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        ds.RealWorldValueMappingSequence = Sequence(items)

    return edit


def _linear(label: str, slope: float, unit: Any = ADC, last: int = 32767, first: int = 0) -> Any:
    return highdicom.pm.RealWorldValueMapping(
        lut_label=label,
        lut_explanation=f"{label} in words",
        unit=unit,
        value_range=(first, last),
        slope=slope,
        intercept=0.5,
    )


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, RLE])
def test_linear(tmp_path: Path, syntax: str) -> None:
    frames = numbers((2, 8, 6), "u2")
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, edit=_maps(_linear("ADC", 1e-6, last=40000, first=100)))
    (found,) = real_world_maps(header)
    assert (found.label, found.unit, found.meaning) == ("ADC", "mm2/s", "ADC in words")
    truth = np.where((frames >= 100) & (frames <= 40000), frames * 1e-6 + 0.5, np.nan)
    assert np.isnan(truth).any()
    np.testing.assert_array_equal(found.apply(stored_pixels(header)), truth[0])
    values = real_world_values([replace(header, frame=k) for k in (0, 1)])
    np.testing.assert_array_equal(values, truth.astype(np.float32))


def test_of_signed_pixels(tmp_path: Path) -> None:
    frames = numbers((1, 8, 6), "i2")
    item = _linear("x", 2.0)
    for name, value in (("RealWorldValueFirstValueMapped", -500), ("RealWorldValueLastValueMapped", -3)):
        delattr(item, name)
        item.add_new(name, "SS", value)
    header = pixel_file(tmp_path / "a.dcm", frames, EXPLICIT, edit=_maps(item))
    (found,) = real_world_maps(header)
    assert (found.first, found.last) == (-500, -3)
    truth = np.where((frames >= -500) & (frames <= -3), frames * 2.0 + 0.5, np.nan)
    np.testing.assert_array_equal(found.apply(stored_pixels(header)), truth[0])


def test_table(tmp_path: Path) -> None:
    frames = numbers((1, 8, 6), "u1")
    entries = np.sqrt(np.arange(100.0))
    item = highdicom.pm.RealWorldValueMapping(
        lut_label="root", lut_explanation="", unit=ADC, value_range=(50, 149), lut_data=list(entries)
    )
    header = pixel_file(tmp_path / "a.dcm", frames, EXPLICIT, edit=_maps(item))
    inside = (frames[0] >= 50) & (frames[0] <= 149)
    truth = np.where(inside, entries[np.where(inside, frames[0].astype(int) - 50, 0)], np.nan)
    np.testing.assert_array_equal(choose_map(header).apply(stored_pixels(header)), truth)
    assert 0 < inside.sum() < inside.size


def test_of_float_pixels(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(1, 8, 6)).astype("f4")
    item = highdicom.pm.RealWorldValueMapping(
        lut_label="flow", lut_explanation="", unit=ADC, value_range=(-1.0, 1.5), slope=3.0, intercept=0.0
    )
    header = pixel_file(tmp_path / "a.dcm", frames, EXPLICIT, edit=_maps(item))
    truth = np.where((frames >= -1) & (frames <= 1.5), frames.astype("f8") * 3, np.nan)
    np.testing.assert_array_equal(real_world_values([header]), truth.astype("f4"))


def test_several_are_chosen_by_label_or_unit(tmp_path: Path) -> None:
    per_second = codes.UCUM.Second
    items = (_linear("ADC", 1e-6), _linear("fast ADC", 2e-6), _linear("T2", 1e-3, per_second))
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 6), "u2"), EXPLICIT, edit=_maps(*items))
    assert len(real_world_maps(header)) == 3
    assert choose_map(header, label="fast ADC").slope == 2e-6
    assert choose_map(header, unit="s").label == "T2"
    with pytest.raises(SeriesError, match=r"has 3 maps; .* ADC \(mm2/s\), fast ADC \(mm2/s\), T2 \(s\)"):
        choose_map(header)
    with pytest.raises(SeriesError, match="has 2 maps with unit 'mm2/s'"):
        real_world_values([header], unit="mm2/s")
    with pytest.raises(SeriesError, match="has 0 maps with label 'T3'"):
        choose_map(header, label="T3")


def test_none(tmp_path: Path) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 6), "u2"), EXPLICIT)
    assert real_world_maps(header) == ()
    with pytest.raises(SeriesError, match=r"\(0040,9096\) has 0 maps; .* there are: none"):
        choose_map(header)


@pytest.mark.parametrize("lost", ["RealWorldValueSlope", "RealWorldValueFirstValueMapped"])
def test_incomplete(tmp_path: Path, lost: str) -> None:
    item = _linear("ADC", 1e-6)
    delattr(item, lost)
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 6), "u2"), EXPLICIT, edit=_maps(item))
    with pytest.raises(SeriesError, match=r"RealWorldValueMappingSequence \(0040,9096\)"):
        real_world_maps(header)


def test_units_that_vary(tmp_path: Path) -> None:
    headers: list[Header] = []
    for k, unit in enumerate((ADC, codes.UCUM.Second)):
        edit = _maps(_linear("x", 1.0, unit))
        headers.append(pixel_file(tmp_path / f"{k}.dcm", numbers((1, 8, 6), "u2"), EXPLICIT, edit=edit))
    with pytest.raises(SeriesError, match="units mm2/s, s"):
        real_world_values(headers, label="x")


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
def test_parametric_map_of_highdicom(make_series: Callable[..., Any], tmp_path: Path, dtype: str) -> None:
    source = make_series(lambda z, ds: setattr(ds, "BurnedInAnnotation", "NO"))
    pixels = numbers((6, 5, 7), "u2") if dtype == "u2" else np.random.default_rng(1).random((6, 5, 7)).astype(dtype)
    ends = (0, 65535) if dtype == "u2" else (0.1, 1.0)
    item = highdicom.pm.RealWorldValueMapping("ADC", "apparent", ADC, value_range=ends, slope=1e-6, intercept=1e-9)
    written = highdicom.pm.ParametricMap(
        source.datasets,
        pixels,
        highdicom.UID(),
        1,
        highdicom.UID(),
        1,
        "maker",
        "model",
        "1",
        "1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[item],
        window_center=1,
        window_width=2,
    )
    written.save_as(tmp_path / "map.dcm")
    headers = frames_of(read_header(tmp_path / "map.dcm"))
    truth = np.where((pixels >= ends[0]) & (pixels <= ends[1]), pixels * 1e-6 + 1e-9, np.nan)
    along = sorted(headers, key=lambda h: h.numbers("ImagePositionPatient", 3)[2])
    np.testing.assert_allclose(real_world_values(along), truth, rtol=1e-6)
    assert {choose_map(h).unit for h in headers} == {"mm2/s"}
    if dtype == "u2":
        found = highdicom.imread(tmp_path / "map.dcm").get_frames(apply_real_world_transform=True, dtype=np.float64)
        np.testing.assert_allclose(real_world_values(headers), found, rtol=1e-6)
