"""Series to volumes: right voxel by voxel, or refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from isocenter.io.dicom import GeometryPolicy, Stack, find_series
from isocenter.records import ConfigError, GeometryError, SeriesError

Make = Callable[..., Any]
SHUFFLE = [4, 1, 6, 2, 9, 3]


def _only(folder: Path) -> Stack:
    (series,) = find_series(folder)
    return series.stack()


def test_regular_ct(make_series: Make, assert_right: Make) -> None:
    truth = make_series()
    volume = _only(truth.folder).volume()
    assert (volume.array.dtype, volume.unit) == (np.int16, "HU")
    assert volume.grid.frame == truth.datasets[0].FrameOfReferenceUID
    assert volume.grid.spacing_mm == pytest.approx((2.5, 0.7, 0.9))
    assert_right(volume, truth.datasets)


@pytest.mark.parametrize("way", ["shuffle", "absent", "equal"])
def test_instance_number_plays_no_part(make_series: Make, assert_right: Make, way: str) -> None:
    def edit(z: int, ds: Dataset) -> None:
        if way == "absent":
            del ds.InstanceNumber
        else:
            ds.InstanceNumber = SHUFFLE[z] if way == "shuffle" else 1

    truth = make_series(edit)
    stack = _only(truth.folder)
    assert [h.file for h in stack.headers] == truth.files
    assert_right(stack.volume(), truth.datasets)


@given(angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3), step=st.floats(0.5, 8))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_orientation(make_series: Make, assert_right: Make, angles: tuple[float, ...], step: float) -> None:
    turn = Rotation.from_euler("xyz", angles).as_matrix()
    truth = make_series(across=turn[:, 0], down=turn[:, 1], step=step, count=4)
    assert_right(_only(truth.folder).volume(), truth.datasets)
    shutil.rmtree(truth.folder)


@pytest.mark.parametrize(
    ("across", "down"),
    [((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1)), ((-1, 0, 0), (0, -1, 0)), ((0, -1, 0), (0, 0, 1))],
)
def test_sagittal_coronal_and_prone(make_series: Make, assert_right: Make, across: Any, down: Any) -> None:
    truth = make_series(across=across, down=down)
    assert_right(_only(truth.folder).volume(), truth.datasets)


def test_slope_that_varies_from_slice_to_slice(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = f"{1 + 0.013 * z:.6f}", f"{-3.5 * z}"

    truth = make_series(edit)
    volume = _only(truth.folder).volume()
    assert volume.array.dtype == np.float32
    assert_right(volume, truth.datasets)


def test_values_beyond_int16_become_float(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.BitsStored, ds.HighBit, ds.RescaleIntercept = 16, 15, 100
        ds.PixelData = (np.arange(35, dtype="<u2") + (65000 if z == 3 else 0)).tobytes()

    truth = make_series(edit)
    volume = _only(truth.folder).volume()
    assert volume.array.dtype == np.float32
    assert_right(volume, truth.datasets)


def test_signed_pixels_and_unused_bits(make_series: Make) -> None:
    values = np.arange(-2048, -2048 + 35, dtype=np.int16).reshape(5, 7)

    def edit(z: int, ds: Dataset) -> None:
        ds.PixelRepresentation = 1
        # an overlay in the four upper bits, which are no part of the value
        ds.PixelData = ((values.view(np.uint16) & 0x0FFF) | (0x5000 if z % 2 else 0)).astype("<u2").tobytes()

    volume = _only(make_series(edit).folder).volume()
    np.testing.assert_array_equal(volume.array[0], np.broadcast_to(values - 1024, (6, 5, 7)))


def test_eight_bits(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = (np.arange(36, dtype=np.uint8) * 7 + z).tobytes()

    truth = make_series(edit)
    assert_right(_only(truth.folder).volume(), truth.datasets)


def test_monochrome1_is_not_inverted_and_padding_is_kept(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.PhotometricInterpretation, ds.PixelPaddingValue = "MONOCHROME1", 63

    truth = make_series(edit)
    stack = _only(truth.folder)
    assert stack.padding == 63 - 1024
    assert_right(stack.volume(), truth.datasets)


def test_mr_without_rescale_is_in_arbitrary_units(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
        del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType

    truth = make_series(edit)
    volume = _only(truth.folder).volume()
    assert volume.unit == "a.u."
    assert_right(volume, truth.datasets)


def test_ct_in_another_unit_is_not_called_hu(make_series: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.RescaleType = "US"

    assert _only(make_series(edit).folder).volume().unit == "a.u."


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_pixels(make_series: Make, assert_right: Make, syntax: str) -> None:
    truth = make_series(lambda z, ds: ds.compress(syntax, generate_instance_uid=False), shape=(64, 48))
    assert_right(_only(truth.folder).volume(), truth.datasets)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_uncompressed_syntaxes(make_series: Make, assert_right: Make, syntax: Any) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            ds["PixelData"].VR = "OW"

    truth = make_series(edit)
    assert_right(_only(truth.folder).volume(), truth.datasets)


def test_file_without_preamble(make_series: Make, assert_right: Make) -> None:
    truth = make_series()
    for ds in truth.datasets:
        path = Path(ds.filename)
        ds.remove_private_tags()
        meta, ds.file_meta, ds.preamble = ds.file_meta, type(ds.file_meta)(), None
        ds.save_as(path, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
        ds.file_meta = meta
    assert_right(_only(truth.folder).volume(), truth.datasets)


def test_file_that_is_not_in_the_syntax_it_states(make_series: Make, assert_right: Make) -> None:
    truth = make_series()  # explicit VR
    for ds in truth.datasets:
        ds.save_as(ds.filename, implicit_vr=True, little_endian=True, force_encoding=True)
        assert dcmread(ds.filename).file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
    assert_right(_only(truth.folder).volume(), truth.datasets)


def test_single_slice_takes_its_thickness(make_series: Make, assert_right: Make) -> None:
    truth = make_series(count=1)
    volume = _only(truth.folder).volume()
    assert volume.grid.spacing_mm[0] == pytest.approx(2.5)
    assert_right(volume, truth.datasets)

    def edit(z: int, ds: Dataset) -> None:
        del ds.SliceThickness

    with pytest.raises(SeriesError, match=r"SliceThickness \(0018,0050\)"):
        _only(make_series(edit, count=1).folder).volume()


def test_jitter_of_micrometres_is_read(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.ImagePositionPatient[0] = float(ds.ImagePositionPatient[0]) + 0.003 * (-1) ** z

    truth = make_series(edit, across=(1, 0, 0), down=(0, 0, -1))
    assert_right(_only(truth.folder).volume(), truth.datasets)


def test_rounded_positions_need_a_wider_policy(make_series: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.ImagePositionPatient[2] = round(float(ds.ImagePositionPatient[2]), 1)

    stack = _only(make_series(edit, step=1.25, count=9).folder)
    with pytest.raises(GeometryError, match="tolerance_mm"):
        stack.volume()
    assert stack.volume(GeometryPolicy(tolerance_mm=0.06)).grid.spacing_mm[0] == pytest.approx(1.25, abs=0.01)


def test_some_slices_only(make_series: Make) -> None:
    stack = _only(make_series().folder)
    whole, part = stack.volume(), stack.volume(slices=(2, 5))
    np.testing.assert_array_equal(part.array, whole.array[:, 2:5])
    assert part.grid.is_close(whole.grid.crop((2, 0, 0), (5, 5, 7)))


def test_a_unit_that_values_would_only_be_called_by_is_refused(make_series: Make) -> None:
    stack = _only(make_series().folder)
    with pytest.raises(ConfigError, match=r"unit 'a\.u\.' is asked for; give 'SUVbw'"):
        stack.volume(unit="a.u.")  # type: ignore[arg-type]
