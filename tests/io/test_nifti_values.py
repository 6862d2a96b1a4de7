"""Label maps, values that no image has, and every way a NIfTI file can be wrong."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocenter.io.nifti import read_label_nifti, read_nifti, write_nifti
from isocenter.records import ConfigError, FileFormatError, GeometryError, IsocenterError, LabelError, ValueRangeError
from isocenter.volume import Grid, Volume


def _nib(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **fields: Any) -> Path:
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 2, 3, 1]) if affine is None else affine), path)
    if fields:  # patched in the file, since nibabel would mend them
        data = path.read_bytes()
        header = nib.Nifti1Header(data[:348])
        for name, value in fields.items():
            header[name] = value
        path.write_bytes(header.binaryblock + data[348:])
    return path


RAMP = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], np.uint8),
        ([-1, 3], np.int8),
        ([0, 256], np.uint16),
        ([-1, 300], np.int16),
        ([0, 70000], np.uint32),
        ([-1, 70000], np.int32),
    ],
)
@pytest.mark.parametrize("stored", [np.float32, np.int32])
def test_labels_take_the_smallest_type(tmp_path: Path, values: list[int], dtype: Any, stored: Any) -> None:
    array = np.resize(values, (2, 3, 4)).astype(stored)
    found = read_label_nifti(_nib(tmp_path / "l.nii.gz", array))
    assert (found.array.dtype, found.unit) == (dtype, "label")
    np.testing.assert_array_equal(found.array[0], array.transpose(2, 1, 0))


def test_constant_label_map_is_fine(tmp_path: Path) -> None:
    assert read_label_nifti(_nib(tmp_path / "l.nii", np.zeros((2, 2, 2), np.uint8))).array.max() == 0


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_labels_that_are_not_whole_numbers(tmp_path: Path, value: float) -> None:
    array = np.zeros((2, 3, 4), np.float32)
    array[1, 2, 3] = value
    with pytest.raises(LabelError, match=r"label value (0\.5|nan|inf)"):
        read_label_nifti(_nib(tmp_path / "l.nii", array))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_no_image_has(tmp_path: Path, value: float) -> None:
    array = RAMP.astype(np.float32)
    array[1, 2, 3] = value
    path = _nib(tmp_path / "v.nii.gz", array)
    with pytest.raises(ValueRangeError, match=r"1 voxels are NaN or infinite, .* \(0, 3, 2, 1\)|\(3, 2, 1\)"):
        read_nifti(path)
    assert read_nifti(path, check_values=False).array.shape == (1, 4, 3, 2)


def test_constant_image(tmp_path: Path) -> None:
    path = _nib(tmp_path / "v.nii", np.full((2, 3, 4), 7, np.int16))
    with pytest.raises(ValueRangeError, match="every voxel is 7"):
        read_nifti(path)


def _whole(tmp_path: Path) -> bytes:
    write_nifti(tmp_path / "w.nii", Volume(RAMP, Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1))))
    return (tmp_path / "w.nii").read_bytes()


@pytest.mark.parametrize("keep", [0, 3, 100, 348, 352, 360, 399])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_file(tmp_path: Path, keep: int, packed: bool) -> None:
    data = _whole(tmp_path)[:keep]
    path = tmp_path / ("t.nii.gz" if packed else "t.nii")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(FileFormatError, match=r"truncated|not a NIfTI") as caught:
        read_nifti(path)
    assert str(path) in str(caught.value)


def test_truncated_or_damaged_gzip_stream(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (20, 30, 40)).astype(np.int16)
    write_nifti(tmp_path / "v.nii.gz", Volume(noise, Grid.regular((20, 30, 40), spacing_mm=(1, 1, 1))))
    data = (tmp_path / "v.nii.gz").read_bytes()
    for keep in (1, 5, 20, len(data) // 2, len(data) - 9):
        (tmp_path / "t.nii.gz").write_bytes(data[:keep])
        with pytest.raises(FileFormatError):
            read_nifti(tmp_path / "t.nii.gz")
    (tmp_path / "t.nii.gz").write_bytes(data[:3000] + bytes(64) + data[3064:])
    with pytest.raises(FileFormatError, match=r"damaged|truncated"):
        read_nifti(tmp_path / "t.nii.gz")


def test_header_that_declares_far_more_than_the_file(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((32767, 32767, 32767))
    header.set_data_dtype(np.float64)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(FileFormatError, match="truncated"):
        read_nifti(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 351), value=st.integers(0, 255))
def test_any_damaged_header_byte_is_read_or_refused_by_type(tmp_path: Path, at: int, value: int) -> None:
    data = bytearray(_whole(tmp_path))
    data[at] = value
    path = tmp_path / "d.nii"
    path.write_bytes(data)
    try:
        volume = read_nifti(path)
    except IsocenterError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert np.isfinite(volume.grid.affine).all()


def test_not_nifti(tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_bytes(b"hello" * 200)
    with pytest.raises(FileFormatError, match="not a NIfTI file"):
        read_nifti(tmp_path / "x.nii")
    with pytest.raises(FileFormatError, match="does not exist"):
        read_nifti(tmp_path / "none.nii.gz")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_nifti(tmp_path)
    nib.save(nib.AnalyzeImage(RAMP, np.eye(4)), tmp_path / "a.img")
    with pytest.raises(FileFormatError):
        read_nifti(tmp_path / "a.hdr")


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_that_are_not_numbers(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(FileFormatError, match="not plain numbers"):
        read_nifti(_nib(tmp_path / "v.nii", np.zeros((2, 3, 4), dtype)))


def test_singular_sform(tmp_path: Path) -> None:
    path = _nib(tmp_path / "v.nii", RAMP, srow_z=[0, 0, 0, 0])
    with pytest.raises(GeometryError, match="singular") as caught:
        read_nifti(path)
    assert str(path) in str(caught.value)


def test_qform_that_is_no_rotation(tmp_path: Path) -> None:
    path = _nib(tmp_path / "v.nii", RAMP, sform_code=0, qform_code=1, quatern_b=2.0)
    with pytest.raises(GeometryError, match="not a rotation"):
        read_nifti(path)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    grid = Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1))
    with pytest.raises(ConfigError, match=r"named \.nii"):
        write_nifti(tmp_path / "v.mha", Volume(RAMP, grid))
    with pytest.raises(ValueRangeError, match="int32"):
        write_nifti(tmp_path / "v.nii", Volume(RAMP.astype(np.int64) << 40, grid))
    with pytest.raises(ValueRangeError, match="complex"):
        write_nifti(tmp_path / "v.nii", Volume(RAMP.astype(np.complex64), grid))
    assert os.listdir(tmp_path) == []
    write_nifti(tmp_path / "v.nii", Volume(RAMP.astype(np.int64), grid))
    assert read_nifti(tmp_path / "v.nii").array.dtype == np.int32


def test_works_without_isal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "isal", None)
    volume = Volume(RAMP, Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1)))
    write_nifti(tmp_path / "v.nii.gz", volume)
    np.testing.assert_array_equal(read_nifti(tmp_path / "v.nii.gz").array[0], RAMP)
