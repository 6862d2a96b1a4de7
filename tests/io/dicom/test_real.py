"""Every real series at hand: on the list of those to read, right pixel by pixel; else refused by the right name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from isocenter.io.dicom import Series, find_series
from isocenter.io.nifti import read_nifti
from isocenter.records import GeometryError, SeriesError

pytestmark = pytest.mark.real
Find = Callable[[str], Path]

MUST_READ = [  # folder, modality, slices
    ("sarcoma_pet_ct_mr/dicom/STS_008/CT/image", "CT", 51),
    ("sarcoma_pet_ct_mr/dicom/STS_008/MR_T1/image", "MR", 28),
    ("sarcoma_pet_ct_mr/dicom/STS_008/PET/image", "PT", 51),  # its slope varies from slice to slice
    ("lung_ct_gtv_ibsi_phantom/dicom/image", "CT", 60),
    ("totalsegmentator_refs/example_ct_dicom", "CT", 20),  # JPEG 2000, UIDs blanked
    ("dcmqi_seg_paramap_sr/data/segmentations/ct-3slice", "CT", 3),
    ("dcmqi_seg_paramap_sr/data/segmentations/23x38x3/image", "CT", 3),
    ("dcmqi_seg_paramap_sr/data/segmentations/24x38x3/image", "CT", 3),
]
MUST_REFUSE = [  # folder, code, error
    ("dcm_qa_ct/In/GE", "variable-spacing", GeometryError),  # 1.1 to 7 mm
    ("sarcoma_pet_ct_mr/dicom/STS_008/CT/mask", "not-a-slice", SeriesError),  # RTSTRUCT
]
STACKS = [  # folder, labels of the first and last stack, how many, slices of each
    ("dcm_qa_nih/In/20180918GE/mr_0004", "time 1", "time 10", 10, 15),
    ("dcm_qa_nih/In/20180918GE/mr_0006", "time 1", "time 10", 10, 15),
    ("dcm_qa_nih/In/20180918Si/mr_0003", "acquisition 1", "acquisition 2", 2, 5),
    ("dcm_qa_nih/In/20180918Si/mr_0006", "acquisition 1", "acquisition 2", 2, 5),
    ("dcm_qa_enh_multiframe/In/Philips", "kind FIELD_MAP", "kind M", 2, 32),
    ("dcm_qa_enh_multiframe/In/Siemens/XA10", "time 1", "time 4", 4, 6),
]


def _only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


@pytest.mark.parametrize(("folder", "modality", "slices"), MUST_READ)
def test_read_right(real_data: Find, assert_right: Any, folder: str, modality: str, slices: int) -> None:
    series = _only(real_data(folder))
    volume = series.stack().volume()
    assert (series.modality, len(series.files)) == (modality, slices)
    assert_right(volume, [dcmread(f) for f in series.files])


@pytest.mark.parametrize(("folder", "code", "error"), MUST_REFUSE)
def test_refused_by_name(real_data: Find, folder: str, code: str, error: type[Exception]) -> None:
    stack = _only(real_data(folder)).stack()
    assert stack.problems()[0].code == code
    with pytest.raises(error):
        stack.volume()
    with pytest.raises(error):
        stack.grid()


@pytest.mark.parametrize(("folder", "first", "last", "count", "slices"), STACKS)
def test_volumes_told_apart(
    real_data: Find, assert_right: Any, folder: str, first: str, last: str, count: int, slices: int
) -> None:
    stacks = _only(real_data(folder)).stacks()
    assert (stacks[0].label, stacks[-1].label, len(stacks)) == (first, last, count)
    for stack in stacks:
        assert stack.volume().grid.shape[0] == slices == len(stack)
        if all(h.frame is None and h.tile is None for h in stack.headers):
            assert_right(stack.volume(), [dcmread(h.file) for h in stack.headers])


def test_every_series_is_right_or_refused(real_data: Find, assert_right: Any) -> None:
    read = 0
    for name in ("dcmqi_seg_paramap_sr", "highdicom_test_files", "dcm_qa_enh_multiframe", "dcm_qa_nih", "dcm_qa_ct"):
        for series in find_series(real_data(name)):
            for stack in series.stacks():
                if stack.problems() or any(h.frame is not None or h.tile for h in stack.headers):
                    continue
                if "ImagePositionPatient" not in stack.headers[0]:
                    continue  # a radiograph
                assert_right(stack.volume(), [dcmread(f) for f in stack.files])
                read += 1
    assert read >= 24


@pytest.mark.parametrize(
    ("dicom", "nifti"),
    [
        ("sarcoma_pet_ct_mr/dicom/STS_008/CT/image", "sarcoma_pet_ct_mr/nifti/STS_008/CT_image.nii.gz"),
        ("sarcoma_pet_ct_mr/dicom/STS_008/PET/image", "sarcoma_pet_ct_mr/nifti/STS_008/PET_image.nii.gz"),
        ("sarcoma_pet_ct_mr/dicom/STS_008/MR_T1/image", "sarcoma_pet_ct_mr/nifti/STS_008/MR_T1_image.nii.gz"),
        ("lung_ct_gtv_ibsi_phantom/dicom/image", "lung_ct_gtv_ibsi_phantom/nifti/image/phantom.nii.gz"),
    ],
)
def test_dicom_and_its_published_nifti_agree(real_data: Find, dicom: str, nifti: str) -> None:
    volume = _only(real_data(dicom)).stack().volume()
    published = read_nifti(real_data(nifti))
    assert volume.grid.is_close(published.grid)
    np.testing.assert_allclose(volume.array, published.array, rtol=1e-5, atol=1e-4)
