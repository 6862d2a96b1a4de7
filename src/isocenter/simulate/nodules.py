"""Lung nodules: what they are and where they may sit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from isocenter.errors import ConfigError
from isocenter.simulate.torso import Torso
from isocenter.simulate.vessels import Branches, distance_to, points_in_lung
from isocenter.volume import Points

__all__ = ["DENSITIES", "Density", "Nodule", "place_nodules"]

Density = Literal["solid", "part-solid", "ground-glass"]
DENSITIES: tuple[Density, ...] = get_args(Density)
_HU = {"solid": 40.0, "part-solid": -600.0, "ground-glass": -600.0}
_CORE = 0.5


@dataclass(frozen=True)
class Nodule:
    """A ball in the lung.

    Attributes:
        center_mm: LPS position ``(x, y, z)``.
        diameter_mm: Of the ball.
        density: ``"solid"``, ``"part-solid"`` (a solid core of half the diameter in ground glass), ``"ground-glass"``.
        hu: Mean value, of the ground-glass part where there is one.
        side: ``"left"`` or ``"right"``.
    """

    center_mm: tuple[float, float, float]
    diameter_mm: float
    density: Density
    hu: float
    side: str

    @property
    def volume_ml(self) -> float:
        """Volume of the ball in millilitres."""
        return float(np.pi / 6 * self.diameter_mm**3 / 1000)

    @property
    def core_mm(self) -> float:
        """Diameter of the solid core: all of a solid nodule, none of a ground-glass one."""
        return {"solid": 1.0, "part-solid": _CORE, "ground-glass": 0.0}[self.density] * self.diameter_mm


def place_nodules(
    torso: Torso,
    rng: np.random.Generator,
    trees: Branches,
    *,
    number: tuple[int, int],
    diameter_mm: tuple[float, float],
    densities: tuple[Density, ...],
) -> list[Nodule]:
    """Nodules of random size inside the lungs, clear of the pleura, of large vessels and of each other.

    Args:
        torso: Whose lungs.
        rng: Draws everything.
        trees: Vessels and airways to keep away from.
        number: Least and most nodules.
        diameter_mm: Least and largest diameter; small ones are more frequent (log-uniform).
        densities: Kinds to draw from, equally often.

    Raises:
        ConfigError: More nodules than fit.
    """
    warp = torso.patient.warp
    large = trees.radii.max(axis=1) > 1.6
    obstacles = Branches(trees.starts[large], trees.ends[large], trees.radii[large])
    found: list[Nodule] = []
    for _ in range(int(rng.integers(number[0], number[1] + 1))):
        diameter = float(np.exp(rng.uniform(np.log(diameter_mm[0]), np.log(diameter_mm[1]))))
        density = densities[int(rng.integers(len(densities)))]
        hu = _HU[density] + float(rng.normal(0, 25 if density != "solid" else 8))
        side = 1 if rng.random() < 0.47 else -1
        points = points_in_lung(torso, rng, side=side, count=80, depth_mm=diameter / 2 + 3.0)
        spot = _free_spot(points, diameter / 2, obstacles, found, warp.backward(points))
        if spot is None:
            raise ConfigError(
                f"no room for {number[1]} nodules of up to {diameter_mm[1]:g} mm; ask for fewer or smaller ones"
            )
        x, y, z = (round(float(v), 4) for v in spot)
        found.append(Nodule((x, y, z), round(diameter, 3), density, round(hu, 1), "left" if side > 0 else "right"))
    return found


def _free_spot(
    points: Points, radius: float, obstacles: Branches, others: list[Nodule], places: Points
) -> Points | None:
    """The first of ``places`` (patient mm; ``points`` in the reference) that is free, else the roomiest, else none."""
    x, y, z = points.T.astype(np.float32)
    room = distance_to(obstacles, x, y, z) - radius
    apart = np.full(len(places), np.inf)
    for other in others:
        gap = np.linalg.norm(places - np.asarray(other.center_mm), axis=1) - radius - other.diameter_mm / 2
        np.minimum(apart, gap, out=apart)
    room[apart < 4.0] = -np.inf
    if not len(room):
        return None
    best = int(np.argmax(room > 1.0)) if (room > 1.0).any() else int(np.argmax(room))
    return places[best] if np.isfinite(room[best]) else None
