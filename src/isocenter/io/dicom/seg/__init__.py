"""DICOM Segmentation (PS3.3 A.51, A.87): written on the series it was drawn on, read back onto that grid."""

from __future__ import annotations

from isocenter.io.dicom.seg.header import SegHeader, seg_header
from isocenter.io.dicom.seg.read import read_seg, read_seg_fractions, read_seg_labels
from isocenter.io.dicom.seg.write import write_seg

__all__ = ["SegHeader", "read_seg", "read_seg_fractions", "read_seg_labels", "seg_header", "write_seg"]
