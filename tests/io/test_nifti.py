"""NIfTI against nibabel and SimpleITK, and every way a file can be wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from isocenter.io.nifti import nifti_channels, read_nifti, read_nifti_grid, write_nifti
from isocenter.records import FileFormatError
from isocenter.volume import Grid, Volume

LPS = np.diag([-1.0, -1.0, 1.0])


def _grid(shape: tuple[int, int, int], angles: tuple[float, float, float], *, flip: bool, shear: float) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix() @ np.diag([2.5, 0.7, 1.1])
    affine[:3, 0] += shear * affine[:3, 1]
    affine[:3, 1] *= -1 if flip else 1
    affine[:3, 3] = (-120.5, 33.25, 1000.125)
    return Grid(shape, affine)


grids = st.builds(
    _grid,
    st.tuples(*[st.integers(2, 6)] * 3),
    st.tuples(*[st.floats(-3, 3)] * 3),
    flip=st.booleans(),
    shear=st.sampled_from([0.0, 0.0, 0.4]),
)
DTYPES = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]


@given(grid=grids, dtype=st.sampled_from(DTYPES), suffix=st.sampled_from([".nii", ".nii.gz"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip_and_nibabel_agree(tmp_path: Path, grid: Grid, dtype: Any, suffix: str) -> None:
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(dtype)
    path = tmp_path / f"v{suffix}"
    write_nifti(path, Volume(array, grid))
    back = read_nifti(path)
    np.testing.assert_array_equal(back.array[0], array)
    assert back.array.dtype == dtype
    assert back.grid.is_close(grid, tolerance_mm=1e-3)
    assert read_nifti_grid(path).is_close(grid, tolerance_mm=1e-3)

    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array.transpose(2, 1, 0))
    index = [1, 0, 1]  # slice, row, column
    ras = nib.affines.apply_affine(image.affine, index[::-1])
    np.testing.assert_allclose(LPS @ ras, grid.to_world(index), atol=1e-3)


@given(grid=grids.filter(lambda g: abs(g.directions.T @ g.directions - np.eye(3)).max() < 1e-6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_simpleitk_sees_the_same_places(tmp_path: Path, grid: Grid) -> None:
    array = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    ours, theirs = tmp_path / "ours.nii.gz", tmp_path / "theirs.nii"
    write_nifti(ours, Volume(array, grid))
    image = sitk.ReadImage(str(ours))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    corner = [n - 1 for n in grid.shape]
    place = image.TransformIndexToPhysicalPoint(corner[::-1])
    np.testing.assert_allclose(place, grid.to_world(corner), atol=1e-3)
    sitk.WriteImage(image, str(theirs))
    assert read_nifti_grid(theirs).is_close(grid, tolerance_mm=1e-3)


def test_shear_is_kept_in_the_sform_and_never_claimed_by_the_qform(tmp_path: Path) -> None:
    grid = _grid((3, 4, 5), (0.1, 0.2, 0.3), flip=False, shear=0.4)
    write_nifti(tmp_path / "v.nii", Volume(np.arange(60.0).reshape(3, 4, 5), grid))
    header = nib.load(tmp_path / "v.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    assert read_nifti(tmp_path / "v.nii").grid.is_close(grid, tolerance_mm=1e-3)


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


def test_sform_goes_before_qform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(RAMP, None)
    image.set_sform(np.diag([1.0, 1, 2, 1]), code=1)
    image.set_qform(np.diag([1.0, 1, 5, 1]), code=1)
    nib.save(image, tmp_path / "v.nii")
    assert read_nifti_grid(tmp_path / "v.nii").spacing_mm == (2, 1, 1)
    image.set_sform(None, code=0)
    image.set_qform(np.diag([1.0, 1, 5, 1]), code=2)
    nib.save(image, tmp_path / "v.nii")
    assert read_nifti_grid(tmp_path / "v.nii").spacing_mm == (5, 1, 1)


def test_without_any_orientation_nibabel_is_followed_and_a_warning_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _nib(tmp_path / "v.nii", RAMP, sform_code=0, qform_code=0)
    with caplog.at_level(logging.WARNING):
        grid = read_nifti_grid(path)
    assert "states no orientation" in caplog.text
    ras = nib.load(path).affine
    np.testing.assert_allclose(grid.to_world([2, 1, 0]), LPS @ nib.affines.apply_affine(ras, [0, 1, 2]), atol=1e-5)


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (3, 0.001), (2, 1.0), (0, 1.0)])
def test_lengths_are_brought_to_millimetres(tmp_path: Path, code: int, factor: float) -> None:
    path = _nib(tmp_path / "v.nii", RAMP, xyzt_units=code)
    assert read_nifti_grid(path).spacing_mm == pytest.approx((3 * factor, 2 * factor, factor))


def test_scaling_gives_the_rounded_float32(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    image.header.set_slope_inter(0.1, -1024.3)
    with (tmp_path / "v.nii").open("wb") as file:
        image.header["vox_offset"] = 352
        image.header["magic"] = b"n+1"
        file.write(image.header.binaryblock + bytes(4) + RAMP.tobytes("F"))
    found = read_nifti(tmp_path / "v.nii").array[0]
    slope, inter = (float(np.float32(v)) for v in (0.1, -1024.3))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (RAMP.transpose(2, 1, 0) * slope + inter).astype(np.float32))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_big_endian_and_nifti_2(tmp_path: Path, kind: Any) -> None:
    image = kind(RAMP, np.eye(4), kind.header_class(endianness=">"))
    image.header.set_data_dtype(">i2")
    nib.save(image, tmp_path / "v.nii.gz")
    found = read_nifti(tmp_path / "v.nii.gz").array
    assert found.dtype.isnative
    np.testing.assert_array_equal(found[0], RAMP.transpose(2, 1, 0))


def test_two_dimensional_file_is_one_slice(tmp_path: Path) -> None:
    path = _nib(tmp_path / "v.nii", RAMP[0])
    assert read_nifti(path).grid.shape == (1, 4, 3)


def test_fourth_axis(tmp_path: Path) -> None:
    four = np.stack([RAMP, RAMP + 100], axis=-1)
    path = _nib(tmp_path / "v.nii.gz", four)
    assert nifti_channels(path) == 2
    with pytest.raises(FileFormatError, match=r"\(2, 3, 4, 2\) holds 2 images"):
        read_nifti(path)
    np.testing.assert_array_equal(read_nifti(path, channel=1).array[0], (RAMP + 100).transpose(2, 1, 0))
    with pytest.raises(FileFormatError, match="channel 2 asked for"):
        read_nifti(path, channel=2)
    assert read_nifti(_nib(tmp_path / "one.nii", RAMP[..., None])).array.shape == (1, 4, 3, 2)


def test_channels_are_written_along_the_fourth_axis(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 2, 4, 5)) > 0.5
    write_nifti(tmp_path / "m.nii.gz", Volume(masks, Grid.regular((2, 4, 5), spacing_mm=(1, 1, 1))))
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj), masks.transpose(3, 2, 1, 0))
    np.testing.assert_array_equal(read_nifti(tmp_path / "m.nii.gz", channel=2).array[0], masks[2])


def test_equal_volumes_give_equal_bytes(tmp_path: Path) -> None:
    volume = Volume(RAMP, Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1)))
    write_nifti(tmp_path / "a.nii.gz", volume)
    write_nifti(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.real
@pytest.mark.parametrize("folder", ["acdc", "sarcoma_pet_ct_mr/nifti", "spinal_cord_sct", "spleen_ct_crop_ivadomed"])
def test_real_files_as_nibabel_reads_them(real_data: Any, folder: str) -> None:
    files = sorted(real_data(folder).rglob("*.nii.gz"))[:12]
    assert files
    for path in files:
        image = nib.load(path)
        if image.ndim != 3:
            continue
        found = read_nifti(path, check_values=False)
        np.testing.assert_allclose(found.array[0].T, image.get_fdata(dtype=np.float32), rtol=1e-6, atol=1e-4)
        last = [n - 1 for n in found.grid.shape]
        place = LPS @ nib.affines.apply_affine(image.affine, last[::-1])
        np.testing.assert_allclose(found.grid.to_world(last), place, atol=1e-3)
