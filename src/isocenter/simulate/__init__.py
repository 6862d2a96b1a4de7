"""Digital phantoms and a scanner model: studies with known truth, from nothing.

Example:
    >>> case = thorax(0, seed=7, matrix=48, slice_mm=12)
    >>> case.id, case.patient_id
    ('thorax_0001', 'SIM-0001')
"""

from isocenter.simulate.nodules import DENSITIES, Density, Nodule
from isocenter.simulate.options import ThoraxOptions
from isocenter.simulate.phantom import Thorax
from isocenter.simulate.scanner import PROFILES, ScannerProfile, scan
from isocenter.simulate.schema import STRUCTURES, thorax_schema
from isocenter.simulate.thorax import SimulatedCase, simulate_thorax, thorax
from isocenter.simulate.write import write_study

__all__ = [
    "DENSITIES",
    "PROFILES",
    "STRUCTURES",
    "Density",
    "Nodule",
    "ScannerProfile",
    "SimulatedCase",
    "Thorax",
    "ThoraxOptions",
    "scan",
    "simulate_thorax",
    "thorax",
    "thorax_schema",
    "write_study",
]
