"""What anatomy must look like, as typed, registered priors of a segmentation: checked on every result, and repaired.

A plan lists them under ``task.options.priors``; the nouns are in `isocenter.tasks.priors.contract`.
"""

from isocenter.tasks.priors.betti import betti_2d, betti_3d, persistent_loops
from isocenter.tasks.priors.contract import Prior, Violation, build_priors, prior, priors
from isocenter.tasks.priors.relations import Inside, VolumeRange
from isocenter.tasks.priors.ring import Ring
from isocenter.tasks.priors.topology import Topology

__all__ = [
    "Inside",
    "Prior",
    "Ring",
    "Topology",
    "Violation",
    "VolumeRange",
    "betti_2d",
    "betti_3d",
    "build_priors",
    "persistent_loops",
    "prior",
    "priors",
]
