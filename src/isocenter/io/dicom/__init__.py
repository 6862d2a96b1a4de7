"""DICOM: series found in folders and read as volumes; segmentations and contours read and written.

- `series`, `grouping`, `aside`: files to series to stacks; `frames` and `mosaic`: files to single images.
- `stack`, `planes`, `geometry`, `radiograph`, `content`: a stack to a volume, or the reason why it is none.
- `header` and `parsing`: the head of a file, under limits. `values`: pixels to HU, SUV, real-world values.
- `seg`, `rtstruct`: what is drawn on images, in and out. `deidentify`: copies without the patient.

Example:
    >>> import tempfile
    >>> find_series(tempfile.mkdtemp())
    []
"""

import logging
import warnings

from isocenter.io.dicom.rtstruct import read_rtstruct, read_rtstruct_labels, rtstruct_header, write_rtstruct
from isocenter.io.dicom.seg import SegHeader, read_seg, read_seg_fractions, read_seg_labels, seg_header, write_seg
from isocenter.io.dicom.series import Aside, Scan, Series, find_series, scan_folder
from isocenter.io.dicom.stack import STRICT, GeometryPolicy, Problem, Stack

# What pydicom and highdicom warn of quotes values of the file, names among them; those must reach no log. A filter
# set once is safe with threads, which warnings.catch_warnings is not.
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")
# a filter, since pydicom sets the level of its logger itself when it is first imported
logging.getLogger("pydicom").addFilter(lambda record: record.levelno >= logging.ERROR)

__all__ = [
    "STRICT",
    "Aside",
    "GeometryPolicy",
    "Problem",
    "Scan",
    "SegHeader",
    "Series",
    "Stack",
    "find_series",
    "read_rtstruct",
    "read_rtstruct_labels",
    "read_seg",
    "read_seg_fractions",
    "read_seg_labels",
    "rtstruct_header",
    "scan_folder",
    "seg_header",
    "write_rtstruct",
    "write_seg",
]
