"""Folders on disk as datasets: CSV table, nnU-Net raw, Medical Segmentation Decathlon, tree of DICOM files."""

from isocenter.data.layouts.registry import Layout, find_layout, layout_named, layout_names, register_layout

__all__ = ["Layout", "find_layout", "layout_named", "layout_names", "register_layout"]
