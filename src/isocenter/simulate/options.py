"""What may be chosen about simulated studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from isocenter.errors import ConfigError
from isocenter.simulate.nodules import DENSITIES, Density
from isocenter.simulate.scanner import PROFILES, ScannerProfile

__all__ = ["Recipe", "ThoraxOptions"]


class ThoraxOptions(TypedDict, total=False):
    """What may be chosen about simulated studies; each has a default.

    Attributes:
        matrix: Rows and columns of a slice, 192.
        slice_mm: Distance of slices; ``None`` leaves it to the scanner.
        nodules: Least and most nodules a case, (0, 3).
        nodule_mm: Least and largest diameter, (6, 24).
        densities: Kinds of nodules: ``"solid"``, ``"part-solid"``, ``"ground-glass"``.
        structures: Names to label (see `STRUCTURES`); ``None`` labels all.
        profiles: Scanners, used in turn; ``None`` takes `PROFILES`.
        noise: Factor on the noise of every scanner, 1; 0 gives clean images.
    """

    matrix: int
    slice_mm: float | None
    nodules: tuple[int, int]
    nodule_mm: tuple[float, float]
    densities: tuple[Density, ...]
    structures: Sequence[str] | None
    profiles: Sequence[ScannerProfile] | None
    noise: float


@dataclass(frozen=True)
class Recipe:
    """Checked options."""

    matrix: int = 192
    slice_mm: float | None = None
    nodules: tuple[int, int] = (0, 3)
    nodule_mm: tuple[float, float] = (6.0, 24.0)
    densities: tuple[Density, ...] = DENSITIES
    structures: Sequence[str] | None = None
    profiles: Sequence[ScannerProfile] | None = None
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not 16 <= self.matrix <= 1024:
            raise ConfigError(f"matrix {self.matrix} of a simulated study must be 16 to 1024")
        if self.slice_mm is not None and not 0.4 <= self.slice_mm <= 20:
            raise ConfigError(f"slice distance {self.slice_mm} mm of a simulated study must be 0.4 to 20")
        low, high = self.nodules
        if not 0 <= low <= high <= 50:
            raise ConfigError(f"nodules {low} to {high} must be a range within 0 to 50")
        if not 2 <= self.nodule_mm[0] <= self.nodule_mm[1] <= 40:
            raise ConfigError(f"nodule diameters {self.nodule_mm} mm must be a range within 2 to 40")
        unknown = [d for d in self.densities if d not in DENSITIES]
        if unknown or not self.densities:
            raise ConfigError(f"nodule densities {self.densities} must be some of {', '.join(DENSITIES)}")
        if self.profiles is not None and not self.profiles:
            raise ConfigError("no scanner profile given; leave profiles out for the default ones")
        if not self.noise >= 0:
            raise ConfigError(f"noise factor {self.noise} must be 0 or more")

    def profile(self, case: int) -> ScannerProfile:
        """Scanner of a case."""
        profiles = PROFILES if self.profiles is None else self.profiles
        chosen = profiles[case % len(profiles)]
        return chosen if self.slice_mm is None else chosen.sliced(self.slice_mm)
