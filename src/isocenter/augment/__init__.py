"""Random changes of training patches: spatial maps that move images and targets alike, and changes of values."""

from isocenter.augment.drawing import draw_map, identity_map
from isocenter.augment.elastic import Elastic
from isocenter.augment.intensity import IntensityChange, apply_intensity, augment_intensity, draw_intensity
from isocenter.augment.spatial import SpatialMap, VoxelSource

__all__ = [
    "Elastic",
    "IntensityChange",
    "SpatialMap",
    "VoxelSource",
    "apply_intensity",
    "augment_intensity",
    "draw_intensity",
    "draw_map",
    "identity_map",
]
