"""Multi-frame files: every frame at the place, and with the value, that its functional groups state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from isocenter.io.dicom import Series, find_series
from isocenter.records import SeriesError

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
Edit = Callable[[int, Dataset], Any]


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def _sequence(**tags: Any) -> DicomSequence:
    return DicomSequence([_item(**tags)])


def write_enhanced(path: Path, edit: Edit | None = None, *, slices: int = 4, times: int = 2) -> np.ndarray:
    """Frames in the order place by place; the slope varies from frame to frame. Stored pixels are given back."""
    count = slices * times
    stored = np.random.default_rng(3).integers(0, 4096, (count, 5, 7)).astype("<u2")
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    ds.Modality, ds.PatientID, ds.InstanceNumber, ds.SeriesNumber = "MR", "P", 1, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    ds.Rows, ds.Columns, ds.NumberOfFrames = 5, 7, count
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.SharedFunctionalGroupsSequence = _sequence(
        PixelMeasuresSequence=_sequence(PixelSpacing=[0.7, 0.9], SliceThickness=2.5),
        PlaneOrientationSequence=_sequence(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        MREchoSequence=_sequence(EffectiveEchoTime=4.5),
    )
    frames = []
    for k in range(count):
        place, time = divmod(k, times)
        item = _item(
            FrameContentSequence=_sequence(TemporalPositionIndex=time + 1, StackID="1"),
            PlanePositionSequence=_sequence(ImagePositionPatient=[10 - 2.5 * place, -20, 30]),
            PixelValueTransformationSequence=_sequence(RescaleSlope=1 + 0.5 * k, RescaleIntercept=-k),
        )
        if edit:
            edit(k, item)
        frames.append(item)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    ds.PixelData = stored.tobytes()
    ds.save_as(path, enforce_file_format=True)
    return stored


def _series(path: Path) -> Series:
    (series,) = find_series(path)
    return series


def test_frames_of_an_enhanced_file(tmp_path: Path) -> None:
    stored = write_enhanced(tmp_path / "mr.dcm")
    stacks = _series(tmp_path).stacks()
    assert [s.label for s in stacks] == ["time 1", "time 2"]
    for time, stack in enumerate(stacks):
        volume = stack.volume()
        assert volume.grid.shape == (4, 5, 7)
        assert volume.grid.spacing_mm == pytest.approx((2.5, 0.7, 0.9))
        for place in range(4):
            k = 2 * place + time
            index = volume.grid.to_index([10 - 2.5 * place, -20, 30])
            np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
            want = stored[k] * (1 + 0.5 * k) - k
            np.testing.assert_allclose(volume.array[0, round(index[0])], want, rtol=1e-6)


def test_frames_of_several_kinds_are_parted(tmp_path: Path) -> None:
    def phase(k: int, item: Dataset) -> None:
        item.MRImageFrameTypeSequence = _sequence(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE" if k % 2 else "T1"])
        item.FrameContentSequence[0].TemporalPositionIndex = 1

    write_enhanced(tmp_path / "mr.dcm", phase)
    assert [s.label for s in _series(tmp_path).stacks()] == ["kind NONE", "kind T1"]


def test_diffusion_is_read_from_its_groups(tmp_path: Path) -> None:
    def diffusion(k: int, item: Dataset) -> None:
        item.MRDiffusionSequence = _sequence(
            DiffusionBValue=1000.0 * (k % 2),
            DiffusionGradientDirectionSequence=_sequence(DiffusionGradientOrientation=[0.0, 0.6, 0.8]),
        )

    write_enhanced(tmp_path / "mr.dcm", diffusion)
    low, high = _series(tmp_path).stacks()
    assert (low.keys["b-value"], high.keys["b-value"]) == ("0", "1000")
    assert high.headers[0].numbers("DiffusionGradientOrientation", 3) == (0.0, 0.6, 0.8)


def test_frames_that_are_not_described_are_refused(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "mr.dcm")
    ds = dcmread(tmp_path / "mr.dcm")
    ds.PerFrameFunctionalGroupsSequence.pop()
    ds.save_as(tmp_path / "mr.dcm")
    stack = _series(tmp_path).stack()
    assert [p.code for p in stack.problems()] == ["undescribed-images"]
    with pytest.raises(SeriesError, match=r"NumberOfFrames \(0028,0008\) is 8, .* describes 7"):
        stack.volume()


def test_frame_without_a_place_is_refused(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "mr.dcm", lambda k, item: item.pop("PlanePositionSequence") if k == 3 else None)
    with pytest.raises(SeriesError, match=r"ImagePositionPatient \(0020,0032\) is absent"):
        [s.volume() for s in _series(tmp_path).stacks()]


@pytest.mark.real
@pytest.mark.parametrize(
    "folder",
    [
        "dcm_qa_enh_multiframe/In/Philips",
        "dcm_qa_enh_multiframe/In/Siemens/XA10",
        "dcmqi_seg_paramap_sr/data/segmentations/23x38x3/multiframe",
        "dcmqi_seg_paramap_sr/data/segmentations/24x38x3/multiframe",
    ],
)
def test_every_real_frame_is_where_its_groups_say(real_data: Callable[[str], Path], folder: str) -> None:
    series = _series(real_data(folder))
    seen = 0
    for stack in series.stacks():
        volume = stack.volume()
        files = {f: dcmread(f) for f in stack.files}
        for header in stack.headers:
            ds = files[header.file]
            item, shared = ds.PerFrameFunctionalGroupsSequence[header.frame], ds.SharedFunctionalGroupsSequence[0]
            place = item.PlanePositionSequence[0].ImagePositionPatient
            scale = (item.get("PixelValueTransformationSequence") or shared.PixelValueTransformationSequence)[0]
            index = volume.grid.to_index([float(v) for v in place])
            np.testing.assert_allclose(volume.grid.to_world(np.rint(index)), place, atol=0.01)
            want = ds.pixel_array[header.frame] * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
            np.testing.assert_allclose(volume.array[0, round(index[0])], want, rtol=1e-6)
            seen += 1
    assert seen == sum(int(dcmread(h.file, stop_before_pixels=True).NumberOfFrames) for h in series.headers)
