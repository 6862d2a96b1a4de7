"""Random changes of training patches: spatial maps that move images and targets alike, and changes of values."""

from isocenter.augment.intensity import augment_intensity
from isocenter.augment.spatial import SpatialMap, draw_map, identity_map

__all__ = ["SpatialMap", "augment_intensity", "draw_map", "identity_map"]
