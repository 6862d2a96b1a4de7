"""DICOM: series found in folders, read as volumes; segmentations written and read.

Example:
    >>> import tempfile
    >>> find_series(tempfile.mkdtemp())
    []
"""

import logging
import warnings

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
    "read_seg",
    "read_seg_fractions",
    "read_seg_labels",
    "scan_folder",
    "seg_header",
    "write_seg",
]
