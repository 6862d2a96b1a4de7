"""Geometry: voxel lattices in patient space, images on them, and resampling between them."""

from isocenter.volume.grid import Affine, Grid, Points
from isocenter.volume.labels import resample_labels
from isocenter.volume.resample import Interpolation, resample, resample_array
from isocenter.volume.volume import Unit, Volume

__all__ = [
    "Affine",
    "Grid",
    "Interpolation",
    "Points",
    "Unit",
    "Volume",
    "resample",
    "resample_array",
    "resample_labels",
]
