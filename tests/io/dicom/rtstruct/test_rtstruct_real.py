"""Real structure sets against the masks that were published with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.io.dicom import find_series
from isocenter.io.dicom.rtstruct import read_rtstruct, rtstruct_header, write_rtstruct
from isocenter.io.nifti import read_nifti
from isocenter.records import LabelSchema
from isocenter.volume import Volume

pytestmark = pytest.mark.real
Find = Callable[[str], Path]

STS = "sarcoma_pet_ct_mr/dicom/STS_008"
LUNG = "lung_ct_gtv_ibsi_phantom"


@pytest.mark.parametrize(
    ("images", "contours", "published", "name", "differ"),
    [
        (f"{STS}/CT/image", f"{STS}/CT/mask/RS.dcm", "CT_mask", "GTV_Mass_CT", 0),
        (f"{STS}/MR_T1/image", f"{STS}/MR_T1/mask/RS.dcm", "MR_T1_mask", "GTV_Mass_MR_T1", 0),
        (f"{STS}/PET/image", f"{STS}/PET/mask/RS.dcm", "PET_mask", "GTV_Mass_PET", 0),
        # the centre of one voxel lies 0.000003 voxels from the contour
        (f"{LUNG}/dicom/image", f"{LUNG}/dicom/mask/DCM_RS_00060.dcm", f"{LUNG}/nifti/mask/mask", "GTV-1", 1),
    ],
)
def test_masks_are_those_that_were_published(
    real_data: Find, images: str, contours: str, published: str, name: str, differ: int
) -> None:
    series = find_series(real_data(images))[0]
    found, schema, uid = read_rtstruct(real_data(contours), grid=series.stack().grid())
    folder = "" if "/" in published else "sarcoma_pet_ct_mr/nifti/STS_008/"
    truth = read_nifti(real_data(f"{folder}{published}.nii.gz"))
    assert (schema.names, uid) == ((name,), series.uid)
    assert found.grid.is_close(truth.grid)
    inside, expected = found.array[0] > 0, truth.array[0] > 0
    dice = 2 * (inside & expected).sum() / (inside.sum() + expected.sum())
    assert dice >= 0.98
    assert (inside != expected).sum() <= differ


def test_header_of_a_real_structure_set(real_data: Find) -> None:
    head = rtstruct_header(real_data(f"{STS}/CT/mask/RS.dcm"))
    (roi,) = head.rois
    assert (roi.kind, roi.colour, roi.contours, len(roi.instances), dict(roi.skipped)) == (
        "GTV",
        (255, 0, 0),
        19,
        19,
        {},
    )


def test_written_on_a_real_series(real_data: Find, dciodvfy_errors: Any, tmp_path: Path) -> None:
    series = find_series(real_data(f"{STS}/CT/image"))[0]
    volume = series.stack().volume()
    labels = (volume.array[0] > -300).astype(np.uint8) + (volume.array[0] > 200)
    schema = LabelSchema.of({"soft_tissue": 1, "bone": 2})
    path = tmp_path / "s.dcm"
    write_rtstruct(path, Volume(labels, volume.grid), schema, series.files, algorithm_name="m", algorithm_version="1")
    found = read_rtstruct(path, grid=volume.grid)[0].array
    np.testing.assert_array_equal(found, [labels == 1, labels == 2])
    assert dciodvfy_errors(path, "RTStructureSet") == []
