"""Every input of the reading matrix, and whether it must be read or refused: written down before any run.

An input that **must be read** states in its headers where every pixel lies and what it means. ``volume``: its stacks
are regular grids, sheared or not, and the volume has to be right. ``stack``: its slices are exact but no one grid holds
them, so the stack has to be right and the strict volume refused. ``values``: no place is stated (a radiograph), and the
values have to be right.

An input that **must be refused** has no right volume, or none that its headers let anyone tell from a wrong one. The
error class and the code of the problem are written down with it; any one of several will do.
"""

from __future__ import annotations

import os
from pathlib import Path

from _dicom.entry import SERIES, Input, refused
from _dicom.lists import PYDICOM_READ, PYDICOM_REFUSED
from _dicom.lists_made import MADE

__all__ = ["INPUTS", "MADE", "locate"]


TILTED = ("variable-spacing", "gantry-tilt")

REAL = (
    Input("GE head CT, tilt and three slice distances", "data:dcm_qa_ct/In/GE",
          "every slice states its place; 4.22, 1.14 and 7.38 mm apart, so no one grid holds them", kind="stack",
          errors=("GeometryError",), codes=TILTED),
    Input("GE fMRI, 15 slices x 10 times, upwards", "data:dcm_qa_nih/In/20180918GE/mr_0004",
          "times are told apart by InstanceNumber alone: ten images at each of 15 places, in the same order"),
    Input("GE fMRI, 15 slices x 10 times, downwards", "data:dcm_qa_nih/In/20180918GE/mr_0006",
          "as upwards; slices were acquired the other way"),
    Input("Siemens mosaic, 5 slices x 2 times, AP", "data:dcm_qa_nih/In/20180918Si/mr_0003",
          "the CSA header states number and normal of the slices"),
    Input("Siemens mosaic, 5 slices x 2 times, LR", "data:dcm_qa_nih/In/20180918Si/mr_0006", "as AP"),
    Input("Philips enhanced MR, magnitude and field map", "data:dcm_qa_enh_multiframe/In/Philips",
          "functional groups state place, frame type and scale of each of 64 frames: two volumes of 32"),
    Input("Siemens enhanced MR, 6 slices x 4 times", "data:dcm_qa_enh_multiframe/In/Siemens/XA10",
          "functional groups state place and time; one file a time point"),
    Input("CT of 3 slices, 23 x 38", "data:dcmqi_seg_paramap_sr/data/segmentations/23x38x3/image", "regular"),
    Input("CT of 3 slices, 24 x 38", "data:dcmqi_seg_paramap_sr/data/segmentations/24x38x3/image", "regular"),
    Input("legacy-converted enhanced CT, 23 x 38", "data:dcmqi_seg_paramap_sr/data/segmentations/23x38x3/multiframe",
          "functional groups state the place of each of 3 frames"),
    Input("legacy-converted enhanced CT, 24 x 38", "data:dcmqi_seg_paramap_sr/data/segmentations/24x38x3/multiframe",
          "functional groups state the place of each of 3 frames"),
    Input("GE CT of 3 slices", "data:dcmqi_seg_paramap_sr/data/segmentations/ct-3slice", "regular"),
    Input("one oblique MR slice", "data:dcmqi_seg_paramap_sr/data/paramaps/pm-example-slice.dcm",
          "one slice with its thickness is a grid"),
    Input("lung CT, 60 slices", "data:lung_ct_gtv_ibsi_phantom/dicom/image", "regular; InstanceNumber runs down"),
    Input("sarcoma CT, 51 slices", "data:sarcoma_pet_ct_mr/dicom/STS_008/CT/image", "regular"),
    Input("sarcoma MR, 28 slices", "data:sarcoma_pet_ct_mr/dicom/STS_008/MR_T1/image", "regular; no rescale elements"),
    Input("sarcoma PET, 51 slices", "data:sarcoma_pet_ct_mr/dicom/STS_008/PET/image",
          "regular; another slope on every slice"),
    Input("Siemens CT, JPEG 2000, UIDs blanked", "data:totalsegmentator_refs/example_ct_dicom",
          "regular; the UIDs are empty, the file's meta information says that it is CT"),
    Input("highdicom's CT slice", "data:highdicom_test_files/data/test_files/ct_image.dcm",
          "one slice with its thickness is a grid"),
    Input("highdicom's radiograph", "data:highdicom_test_files/data/test_files/dx_image.dcm",
          "MONOCHROME1; a radiograph states no place in the patient, its values are plain", kind="values"),
    *(refused(f"highdicom's {name}", f"data:highdicom_test_files/data/test_files/{name}.dcm", why, SERIES, codes)
      for names, why, codes in (
          ("seg_image_cr_binary seg_image_ct_binary seg_image_ct_binary_fractional seg_image_ct_binary_overlap"
           " seg_image_ct_binary_single_frame seg_image_ct_true_fractional seg_image_sm_control"
           " seg_image_sm_control_labelmap seg_image_sm_control_labelmap_palette_color seg_image_sm_dots"
           " seg_image_sm_dots_tiled_full seg_image_sm_numbers", "a segmentation is no image", "not-a-slice"),
          ("sm_image sm_image_control sm_image_dots sm_image_grayscale sm_image_grayscale_reversed sm_image_jpegls"
           " sm_image_jpegls_nobot sm_image_numbers", "a slide is tiled, not stacked", "not-a-slice colour"),
          ("sm_annotations sr_document sr_document_with_multiple_groups", "it has no pixels", "not-a-slice no-pixels"),
      ) for name in names.split()),
    *(refused(f"dcmqi's {name}", f"data:dcmqi_seg_paramap_sr/data/{name}", why, SERIES, "not-a-slice no-pixels")
      for names, why in (
          ("segmentations/liver.dcm segmentations/partial_overlaps.dcm segmentations/23x38x3/seg"
           " segmentations/24x38x3/seg segmentations/sparse-labelmap-noppv.dcm sr-example/seg.dcm",
           "a segmentation is no image"),
          ("sr-example/sr.dcm sr-example/rwvm.dcm", "it has no pixels"),
      ) for name in names.split()),
    *(refused(f"structure set of the {name}", f"data:{where}", "contours are no image", SERIES,
               "not-a-slice no-pixels")
      for name, where in (("lung CT", "lung_ct_gtv_ibsi_phantom/dicom/mask"),
                          ("sarcoma CT", "sarcoma_pet_ct_mr/dicom/STS_008/CT/mask"),
                          ("sarcoma MR", "sarcoma_pet_ct_mr/dicom/STS_008/MR_T1/mask"),
                          ("sarcoma PET", "sarcoma_pet_ct_mr/dicom/STS_008/PET/mask"))),
)  # fmt: skip

PYDICOM = (
    *(Input(f"pydicom's {name}", f"pydicom:{name}", why, kind=kind, codec_step=step)
      for name, kind, why, step in PYDICOM_READ),
    *(refused(f"pydicom's {name}", f"pydicom:{name}", why, errors, codes)
      for names, why, errors, codes in PYDICOM_REFUSED for name in names.split()),
)  # fmt: skip

INPUTS = MADE + REAL + PYDICOM


def locate(one: Input, data: Path, made: Path) -> Path | None:
    """Where its files lie; ``None`` where they are not at hand."""
    source, _, rest = one.where.partition(":")
    if source == "pydicom":
        import pydicom.data

        base = Path(os.path.dirname(pydicom.data.__file__))
    else:
        base = {"data": data, "made": made}[source]
    found = base / rest
    if not found.exists() and source == "made":
        found = base / f"{rest}.zip"
    return found if found.exists() else None
