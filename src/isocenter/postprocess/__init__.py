"""After the decision: rules on label maps, and measurements of what they hold."""

from isocenter.postprocess.axes import Axes, axial_axes
from isocenter.postprocess.components import Connectivity, component_sizes, fill_holes, keep_largest, remove_small
from isocenter.postprocess.measure import (
    Intensity,
    bounding_box,
    centroid_mm,
    intensity_under,
    mask_volume_ml,
    volumes_ml,
)

__all__ = [
    "Axes",
    "Connectivity",
    "Intensity",
    "axial_axes",
    "bounding_box",
    "centroid_mm",
    "component_sizes",
    "fill_holes",
    "intensity_under",
    "keep_largest",
    "mask_volume_ml",
    "remove_small",
    "volumes_ml",
]
