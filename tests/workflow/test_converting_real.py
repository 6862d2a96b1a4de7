"""Real scanners' files against the conversions that come with them, and against their own headers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from isocenter.errors import SeriesError
from isocenter.io.dicom import GeometryPolicy
from isocenter.workflow.converting import Conversion, convert

pytestmark = pytest.mark.real

# fields of the reference that mean something else here, each with the reason
ELSE = {
    "ImageType": "dcm2niix adds what it found out about the image; here it is as the header has it",
    "ProcedureStepDescription": "of GE images dcm2niix gives the sequence's name instead of the element",
    "BidsGuess": "a guess",
    "ConversionSoftware": "another program",
    "ConversionSoftwareVersion": "another program",
    "AcquisitionDuration": "from private elements",
    "SAR": "of enhanced images from private elements",
    "Units": "dcm2niix tells Hz from a private element",
}
PHILIPS = {
    "EchoNumber": "counted by dcm2niix",
}


@pytest.fixture(scope="module")
def nih(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Conversion]:
    source, out = real_data("dcm_qa_nih"), tmp_path_factory.mktemp("nih") / "out"
    return source / "Ref", out, convert(source / "In", out=out)


@pytest.fixture(scope="module")
def enhanced(
    real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Conversion]:
    source, out = real_data("dcm_qa_enh_multiframe"), tmp_path_factory.mktemp("enh") / "out"
    return source / "Ref", out, convert(source / "In", out=out)


def load(out: Path, done: Conversion, name: str) -> tuple[Any, dict[str, Any]]:
    (image,) = [i for i in done.images if name in i.files[0]]
    return nib.load(out / image.files[0]), json.loads((out / image.files[1]).read_text())


def check_places(own: Any, reference: Any) -> np.ndarray:
    """Both hold the same points of the patient; the reference's index of every voxel of ours."""
    assert sorted(own.shape[:3]) == sorted(reference.shape[:3])
    assert own.shape[3:] == reference.shape[3:]
    index = np.stack(np.meshgrid(*[np.arange(n) for n in own.shape[:3]], indexing="ij"), -1)
    world = index @ own.affine[:3, :3].T + own.affine[:3, 3]
    back = np.linalg.inv(reference.affine)
    found = np.rint(world @ back[:3, :3].T + back[:3, 3]).astype(int)
    again = found @ reference.affine[:3, :3].T + reference.affine[:3, 3]
    assert np.linalg.norm(again - world, axis=-1).max() <= 0.01
    assert found.min() >= 0
    assert (found.reshape(-1, 3).max(axis=0) < reference.shape[:3]).all()
    return found


def check_fields(told: dict[str, Any], reference: Path, *, but: Collection[str] = ()) -> set[str]:
    """Shared fields agree; returned is which."""
    stated = json.loads(reference.read_text())
    shared = {k for k in stated if k in told and k not in {*ELSE, *but}}
    for name in sorted(shared):
        expected = stated[name]
        if isinstance(expected, int | float | list) and not isinstance(expected, bool) and name != "ImageType":
            np.testing.assert_allclose(told[name], expected, rtol=2e-5, atol=2e-6, err_msg=name)
        elif name == "AcquisitionTime":  # dcm2niix does not always write two digits
            assert [float(v) for v in told[name].split(":")] == [float(v) for v in expected.split(":")]
        else:
            assert told[name] == expected, name
    return shared


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("4_axial_epi", "DCM2NIIX_regression_test_4"),  # GE, 15 slices x 10 times in 150 files
        ("6_axial_epi", "DCM2NIIX_regression_test_6"),
        ("3_epi_pe_ap", "EPI_PE=AP_3"),  # Siemens, mosaics
        ("6_epi_pe_lr", "EPI_PE=LR_6"),
    ],
)
def test_time_series_and_mosaics(nih: tuple[Path, Path, Conversion], name: str, reference: str) -> None:
    folder, out, done = nih
    own, told = load(out, done, name)
    expected = nib.load(folder / f"{reference}.nii")
    at = check_places(own, expected)
    voxels = np.asarray(expected.dataobj)[tuple(np.moveaxis(at, -1, 0))]
    assert own.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(own.dataobj), voxels)
    # not only the same places: the same order too, so that what is said by index means the same
    np.testing.assert_allclose(own.affine, expected.affine, atol=1e-3)
    np.testing.assert_allclose(own.header["pixdim"][4], expected.header["pixdim"][4], rtol=1e-6)
    shared = check_fields(told, folder / f"{reference}.json")
    assert shared >= {
        "Modality", "MagneticFieldStrength", "Manufacturer", "ManufacturersModelName", "PatientPosition",
        "ProtocolName", "SeriesDescription", "SeriesNumber", "AcquisitionTime", "AcquisitionNumber", "SliceThickness",
        "EchoTime", "SpacingBetweenSlices", "RepetitionTime", "FlipAngle", "ImageOrientationPatientDICOM",
        "InPlanePhaseEncodingDirectionDICOM", "BodyPart", "MRAcquisitionType", "ImagingFrequency", "PixelBandwidth",
        "ScanningSequence",
    }  # fmt: skip
    if "epi_pe" in name:
        assert shared >= {"SliceTiming", "EffectiveEchoSpacing", "TotalReadoutTime", "PhaseEncodingDirection"}


def test_nothing_of_it_is_left_out(nih: tuple[Path, Path, Conversion]) -> None:
    _, _, done = nih
    assert (len(done.images), done.refused) == (4, ())
    assert done.ignored > 0  # read-me files


def test_enhanced_multi_frame_in_time(enhanced: tuple[Path, Path, Conversion]) -> None:
    folder, out, done = enhanced
    own, told = load(out, done, "6_rest1")
    expected = nib.load(folder / "Siemens_REST1_w_SMS_PF7-8_6.nii")
    at = check_places(own, expected)
    np.testing.assert_array_equal(np.asarray(own.dataobj), np.asarray(expected.dataobj)[tuple(np.moveaxis(at, -1, 0))])
    np.testing.assert_allclose(own.affine, expected.affine, atol=1e-3)
    assert float(own.header["pixdim"][4]) == 0.5
    shared = check_fields(told, folder / "Siemens_REST1_w_SMS_PF7-8_6.json")
    assert shared >= {"AcquisitionTime", "EchoTime", "RepetitionTime", "FlipAngle", "SliceThickness", "SequenceName"}
    assert shared >= {
        "SliceTiming",
        "EffectiveEchoSpacing",
        "TotalReadoutTime",
        "PhaseEncodingDirection",
        "PixelBandwidth",
    }


@pytest.mark.parametrize(("own_name", "echo"), [("_m.", "e1"), ("_field_map.", "e2_fieldmaphz")])
def test_kinds_of_image_in_one_enhanced_file(enhanced: tuple[Path, Path, Conversion], own_name: str, echo: str) -> None:
    folder, out, done = enhanced
    (image,) = [i for i in done.images if i.series == "801" and own_name in i.files[0]]
    own, told = nib.load(out / image.files[0]), json.loads((out / image.files[1]).read_text())
    expected = nib.load(folder / f"Philips_WIP_B0_NS_801_{echo}.nii")
    at = check_places(own, expected)  # the reference is turned to the axes of the patient: other order, same places
    stored = np.asarray(expected.dataobj.get_unscaled(), np.float64)[tuple(np.moveaxis(at, -1, 0))]
    # the reference is in the vendor's private scale (stored / ScaleSlope); here DICOM's own rescale holds
    reference = json.loads((folder / f"Philips_WIP_B0_NS_801_{echo}.json").read_text())
    slope, intercept = reference["PhilipsRescaleSlope"], reference["PhilipsRescaleIntercept"]
    np.testing.assert_allclose(np.asarray(own.dataobj), stored * slope + intercept, rtol=1e-5, atol=1e-3)
    check_fields(told, folder / f"Philips_WIP_B0_NS_801_{echo}.json", but=PHILIPS)


def test_tilt_and_varying_spacing_by_the_headers(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = real_data("dcm_qa_ct") / "In"
    with pytest.raises(SeriesError, match=r"slice spacing varies from 1\.081 to 6\.999 mm"):
        convert(source, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    policy = GeometryPolicy(spacing="resample", tilt="rectify")
    done = convert(source, out=tmp_path / "out", policy=policy)
    image, told = load(tmp_path / "out", done, "2_")
    assert len(told["Isocenter"]["flags"]) == 2
    turn = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-5)
    voxels, back = np.asarray(image.dataobj), np.linalg.inv(image.affine)
    # soft tissue of every slice is found again where its header puts it, but for what interpolation does
    for path in sorted(source.rglob("*.dcm"))[3:-3:4]:
        ds = dcmread(path)
        turn_, step = np.array(ds.ImageOrientationPatient, float), np.array(ds.PixelSpacing, float)
        row, column = np.meshgrid(np.arange(150, 360, 7), np.arange(150, 360, 7), indexing="ij")
        lps = np.array(ds.ImagePositionPatient, float) + row[..., None] * turn_[3:] * step[0]
        lps = (lps + column[..., None] * turn_[:3] * step[1]) * (-1, -1, 1)
        at = np.rint(lps @ back[:3, :3].T + back[:3, 3]).astype(int)
        stored = ds.pixel_array[row, column] * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        found = voxels[tuple(np.moveaxis(at, -1, 0))]
        soft = np.abs(stored - 30) < 20
        assert np.median(np.abs(found - stored)[soft]) < 12


def test_contours_and_their_image(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = real_data("lung_ct_gtv_ibsi_phantom")
    done = convert(source / "dicom", out=tmp_path / "out", labels=True)
    assert [i.modality for i in done.images] == ["CT", "RTSTRUCT"]
    found = []
    for image, given in zip(done.images, ("image/phantom.nii.gz", "mask/mask.nii.gz"), strict=True):
        own, expected = nib.load(tmp_path / "out" / image.files[0]), nib.load(source / "nifti" / given)
        at = check_places(own, expected)
        found.append((np.asarray(own.dataobj), np.asarray(expected.dataobj)[tuple(np.moveaxis(at, -1, 0))]))
    np.testing.assert_array_equal(*found[0])
    own, expected = (mask > 0 for mask in found[1])
    assert 2 * (own & expected).sum() / (own.sum() + expected.sum()) >= 0.98
