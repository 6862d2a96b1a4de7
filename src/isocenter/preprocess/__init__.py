"""First layer: from a case's images to normalised arrays on one working grid."""

from isocenter.preprocess.intensity import check_values, normalise
from isocenter.preprocess.working import to_working, working_grid

__all__ = ["check_values", "normalise", "to_working", "working_grid"]
