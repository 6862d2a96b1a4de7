"""Measured features of structures, shape and first-order, as the Image Biomarker Standardisation Initiative defines.

Reference:
    Zwanenburg et al., *The Image Biomarker Standardization Initiative*, Radiology 295 (2020); reference manual
    arXiv 1612.07003.
"""

from isocenter.radiomics.features import FIRST_ORDER, PROPERTIES, SHAPE, measure_property
from isocenter.radiomics.firstorder import first_order
from isocenter.radiomics.shape import shape

__all__ = ["FIRST_ORDER", "PROPERTIES", "SHAPE", "first_order", "measure_property", "shape"]
