"""One series to its stacks: what is different is parted, volumes over the same places are told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom import Series, find_series
from isocenter.records import SeriesError

Make = Callable[..., Any]
MR = "1.2.840.10008.5.1.4.1.1.4"


def _series(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def _on_three_places(edit: Callable[[int, Dataset], None]) -> Callable[[int, Dataset], None]:
    """Six images, two at each of three places: volume ``z // 3``, place ``z % 3``."""

    def both(z: int, ds: Dataset) -> None:
        x, y, _ = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient, ds.AcquisitionNumber = [x, y, 20.125 + 2.5 * (z % 3)], 1
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MR
        ds.Modality = "MR"
        edit(z, ds)

    return both


TWO_VOLUMES: dict[str, tuple[Callable[[int, Dataset], Any], str, list[str]]] = {
    "time": (lambda z, ds: setattr(ds, "TemporalPositionIdentifier", 1 + z // 3), "time", ["1", "2"]),
    "echo": (lambda z, ds: setattr(ds, "EchoNumbers", 1 + z // 3), "echo", ["1", "2"]),
    "echo time": (lambda z, ds: setattr(ds, "EchoTime", 4.9 + 5 * (z // 3)), "echo time", ["4.9", "9.9"]),
    "b-value": (lambda z, ds: setattr(ds, "DiffusionBValue", 1000.0 * (z // 3)), "b-value", ["0", "1000"]),
    "phase": (lambda z, ds: setattr(ds, "TriggerTime", 30.5 * (z // 3)), "trigger time", ["0", "30.5"]),
    "acquisition": (lambda z, ds: setattr(ds, "AcquisitionNumber", 9 + z // 3), "acquisition", ["9", "10"]),
    "time of day": (lambda z, ds: setattr(ds, "AcquisitionTime", f"1200{z // 3:02d}"), "acquisition time", ["1", "2"]),
    "component": (
        lambda z, ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "MP"[z // 3]]),
        "kind",
        ["M", "P"],
    ),
    "instances, volume by volume": (lambda z, ds: setattr(ds, "InstanceNumber", z + 1), "time", ["1", "2"]),
    "instances, place by place": (
        lambda z, ds: setattr(ds, "InstanceNumber", 1 + 2 * (z % 3) + z // 3),
        "time",
        ["1", "2"],
    ),
}


@pytest.mark.parametrize("name", TWO_VOLUMES)
def test_volumes_over_the_same_places(make_series: Make, assert_right: Make, name: str) -> None:
    edit, key, values = TWO_VOLUMES[name]
    truth = make_series(_on_three_places(edit))
    stacks = _series(truth.folder).stacks()
    assert [dict(s.keys) for s in stacks] == [{key: value} for value in values]
    for k, stack in enumerate(stacks):
        assert_right(stack.volume(), truth.datasets[3 * k : 3 * k + 3])


def test_asking_for_the_one_stack_of_several_names_them(make_series: Make) -> None:
    truth = make_series(_on_three_places(TWO_VOLUMES["echo"][0]))
    with pytest.raises(SeriesError, match=r"holds 2 stacks: echo 1 \(3 images\); echo 2 \(3 images\); choose"):
        _series(truth.folder).stack()


def test_echo_and_time_together(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        place, volume = z % 3, z // 3
        x, y, _ = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, 20 + 2.5 * place]
        ds.SOPClassUID, ds.Modality = MR, "MR"
        ds.file_meta.MediaStorageSOPClassUID = MR
        ds.EchoNumbers, ds.TemporalPositionIdentifier = 1 + volume % 2, 1 + volume // 2

    truth = make_series(edit, count=12)
    stacks = _series(truth.folder).stacks()
    assert [s.label for s in stacks] == ["echo 1, time 1", "echo 1, time 2", "echo 2, time 1", "echo 2, time 2"]
    for stack, volume in zip(stacks, (0, 2, 1, 3), strict=True):
        assert_right(stack.volume(), truth.datasets[3 * volume : 3 * volume + 3])


def test_times_that_vary_from_slice_to_slice_part_nothing(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.AcquisitionTime, ds.TriggerTime, ds.AcquisitionNumber = f"12{z:02d}00", 100.0 * z, z

    truth = make_series(edit)
    assert_right(_series(truth.folder).stack().volume(), truth.datasets)


@pytest.mark.parametrize(
    ("tags", "key"),
    [
        ({"PixelSpacing": [0.7, 0.95]}, "spacing"),
        ({"FrameOfReferenceUID": "1.2.3"}, "frame of reference"),
        ({"ConvolutionKernel": "B70f"}, "kernel"),
        ({"KVP": "80"}, "tube voltage"),
    ],
)
def test_what_differs_in_kind_is_parted(make_series: Make, tags: dict[str, Any], key: str) -> None:
    truth = make_series(lambda z, ds: [setattr(ds, k, v) for k, v in tags.items() if z > 3])
    stacks = _series(truth.folder).stacks()
    assert sorted(len(s) for s in stacks) == [2, 4]
    assert all(key in s.keys for s in stacks)
    # identifiers are numbered, not shown: labels become file names
    assert not any("1.2.3" in s.label for s in stacks)


def test_other_size_is_parted(make_series: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        if z == 5:
            ds.Rows, ds.Columns, ds.PixelData = 3, 4, np.arange(12, dtype="<u2").tobytes()

    stacks = _series(make_series(edit).folder).stacks()
    assert [s.label for s in stacks] == ["size 3 x 4", "size 5 x 7"]


def test_slice_that_lies_otherwise_leaves_a_gap_that_is_refused(make_series: Make) -> None:
    truth = make_series(lambda z, ds: setattr(ds, "ImageOrientationPatient", [-1, 0, 0, 0, -1, 0]) if z == 2 else None)
    series = _series(truth.folder)
    assert [[p.code for p in s.problems()] for s in series.stacks()] == [["missing-slice"], []]
    with pytest.raises(SeriesError, match="holds 2 stacks"):
        series.stack()
