"""Great vessels, and trees of vessels and airways that fill the lungs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isocenter.simulate.canvas import Tubes
from isocenter.simulate.patient import Patient
from isocenter.simulate.shapes import Field
from isocenter.simulate.torso import Torso
from isocenter.volume import Points

__all__ = ["Branches", "great_vessels", "grow", "lung_trees", "points_in_lung"]

_ROUNDS = 60


@dataclass(frozen=True, eq=False)
class Branches:
    """Segments of a tree in the reference anatomy: ``starts``, ``ends`` ``(n, 3)`` and ``radii`` ``(n, 2)`` in mm."""

    starts: Points
    ends: Points
    radii: NDArray[np.float64]

    @staticmethod
    def join(*parts: Branches) -> Branches:
        """Several trees as one."""
        return Branches(
            np.concatenate([p.starts for p in parts]),
            np.concatenate([p.ends for p in parts]),
            np.concatenate([p.radii for p in parts]),
        )

    @staticmethod
    def path(points: Sequence[Sequence[float]], radii: Sequence[float], scale: float = 1.0) -> Branches:
        """A polyline, rounded once at its corners (Chaikin's corner cutting)."""
        p, r = np.asarray(points, dtype=np.float64), np.asarray(radii, dtype=np.float64) * scale
        for _ in range(2):
            p, r = _cut(p), _cut(r[:, None])[:, 0]
        return Branches(*Tubes.path(p, r))


def _cut(p: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], axis=1).reshape(-1, p.shape[1])
    return np.concatenate([p[:1], inner[1:-1], p[-1:]])


def grow(
    root: tuple[float, float, float],
    targets: Points,
    rng: np.random.Generator,
    *,
    radii_mm: tuple[float, float],
    reach: float = 0.42,
) -> Branches:
    """A tree from ``root`` to every target.

    Each branch goes part of the way to the middle of what it feeds, which is then split across its longest
    direction, so that branches do not cross and fill the space evenly. Radii follow a power law in the number of ends
    fed, as Murray's law has it (PNAS 1926).

    Args:
        root: Where it starts, reference mm.
        targets: Ends, ``(n, 3)``.
        rng: Draws the bends.
        radii_mm: At the root and at the ends.
        reach: Part of the way to the middle that a branch goes.
    """
    power = np.log(radii_mm[0] / radii_mm[1]) / np.log(max(2, len(targets)))
    starts, ends, radii = [], [], []
    todo: list[tuple[Points, Points]] = [(np.asarray(root, dtype=np.float64), targets)]
    while todo:
        here, ahead = todo.pop()
        count = len(ahead)
        step = ahead.mean(axis=0) - here
        there = here + step * (1.0 if count == 1 else reach)
        length = float(np.linalg.norm(there - here))
        radius = radii_mm[1] * count**power
        bend = (here + there) / 2 + rng.normal(0.0, 0.06 * length, 3)
        thinner = radii_mm[1] * max(1, count * 0.7) ** power
        starts += [here, bend]
        ends += [bend, there]
        radii += [(radius, (radius + thinner) / 2), ((radius + thinner) / 2, thinner)]
        if count > 1:
            spread = ahead - ahead.mean(axis=0)
            axis = np.linalg.eigh(spread.T @ spread)[1][:, -1]
            order = np.argsort(spread @ axis, kind="stable")
            cut = min(count - 1, max(1, int(count * rng.uniform(0.38, 0.62))))
            todo += [(there, ahead[order[:cut]]), (there, ahead[order[cut:]])]
    return Branches(np.asarray(starts), np.asarray(ends), np.asarray(radii))


def points_in_lung(torso: Torso, rng: np.random.Generator, *, side: int, count: int, depth_mm: float) -> Points:
    """Evenly spread random points at least ``depth_mm`` inside one lung; ``side`` 1 is left, -1 right.

    Up to ``count`` of them: fewer where hardly any place is that deep.
    """
    found: list[Points] = []
    for _ in range(_ROUNDS):
        points = rng.uniform((8, -90, -140), (130, 90, 128), (8 * count, 3))
        points[:, 0] *= side
        x, y, z = points.T.astype(np.float32)
        found.append(points[torso.lungs(x, y, z) < -depth_mm])
        if sum(len(p) for p in found) >= count:
            break
    return np.concatenate(found)[:count]


def lung_trees(torso: Torso, rng: np.random.Generator) -> tuple[Branches, Branches]:
    """Vessels (arteries and veins) and airways of both lungs."""
    vessels, airways = [_pulmonary_arteries()], [_trachea()]
    for side in (-1, 1):
        artery, vein, bronchus = (
            ((-38, 6, 22), (-30, 10, -2), (-34, 15, 8)) if side < 0 else ((42, 17, 27), (34, 18, -2), (42, 19, 3))
        )
        ends = points_in_lung(torso, rng, side=side, count=240, depth_mm=4.5)
        vessels.append(grow(artery, ends, rng, radii_mm=(6.8, 0.9)))
        ends = points_in_lung(torso, rng, side=side, count=200, depth_mm=6.0)
        vessels.append(grow(vein, ends, rng, radii_mm=(5.6, 0.9)))
        ends = points_in_lung(torso, rng, side=side, count=34, depth_mm=18.0)
        airways.append(grow(bronchus, ends, rng, radii_mm=(5.2, 0.9), reach=0.36))
    return Branches.join(*vessels), Branches.join(*airways)


def _trachea() -> Branches:
    right = [(1, 17, 40), (-12, 17, 29), (-26, 16, 15), (-34, 15, 8)]
    left = [(1, 17, 40), (14, 18, 29), (30, 19, 13), (42, 19, 3)]
    return Branches.join(
        Branches.path([(0, 2, 175), (1, 6, 120), (2, 12, 80), (1, 17, 40)], [8.5, 8.7, 9.0, 9.2]),
        Branches.path(right, [7.6, 7.2, 6.4, 5.4]),
        Branches.path(left, [7.2, 6.4, 5.8, 5.2]),
    )


def _pulmonary_arteries() -> Branches:
    return Branches.join(
        Branches.path([(16, -42, 0), (20, -30, 18), (20, -12, 30), (20, 2, 32)], [13, 13.5, 13, 11]),
        Branches.path([(20, -6, 31), (4, 2, 29), (-18, 5, 26), (-38, 6, 22)], [11, 10.5, 9.5, 8]),
        Branches.path([(20, -4, 32), (30, 6, 33), (38, 14, 31), (42, 17, 27)], [11, 10.5, 9.5, 8]),
        Branches.path([(-6, 14, -6), (-18, 12, -4), (-30, 10, -2)], [9, 7.5, 6]),
        Branches.path([(14, 18, -8), (24, 18, -4), (34, 18, -2)], [9, 7.5, 6]),
    )


def great_vessels(patient: Patient) -> tuple[Branches, Branches, Branches, Branches]:
    """Arteries from the arch, upper large veins, lower hollow vein, and the gullet."""
    wide = patient.aorta_scale
    arch = [(0, -14, -8), (-10, -24, 20), (-8, -20, 48), (4, -4, 66), (18, 18, 68), (25, 36, 50), (24, 43, 10)]
    aorta = Branches.path(
        [*arch, (23, 43, -40), (18, 42, -90), (8, 40, -180)],
        [15.5, 15.5, 15, 14, 13, 12.5, 12, 11.5, 11, 10],
        wide,
    )
    arteries = Branches.join(
        aorta,
        Branches.path([(-2, -8, 66), (-10, -6, 90), (-24, 4, 122), (-40, 10, 160)], [7, 6.5, 5.5, 4.5]),
        Branches.path([(8, 4, 70), (13, 2, 95), (18, 2, 130), (22, 4, 170)], [4.2, 4, 3.8, 3.5]),
        Branches.path([(18, 16, 70), (25, 18, 100), (36, 16, 122), (70, 12, 136)], [5.2, 5, 4.8, 4.5]),
    )
    veins = Branches.join(
        Branches.path([(-27, -14, 92), (-29, -12, 60), (-28, -8, 30), (-26, -4, -2)], [8.5, 9.5, 10, 10.5]),
        Branches.path([(-27, -14, 92), (-34, -12, 112), (-48, -8, 132), (-90, -4, 146)], [8, 7, 6.5, 6]),
        Branches.path(
            [(-27, -14, 90), (-8, -34, 92), (18, -32, 100), (46, -16, 126), (90, -8, 142)], [8, 7, 7, 6.5, 6]
        ),
    )
    lower = Branches.path([(-22, 6, -35), (-21, 12, -75), (-20, 18, -110), (-18, 22, -180)], [11, 11.5, 11, 11])
    gullet = Branches.path(
        [(4, 22, 175), (5, 27, 110), (7, 35, 40), (8, 34, -30), (18, 24, -72), (38, 12, -88)], [7.0] * 6
    )
    return arteries, veins, lower, gullet


def distance_to(branches: Branches, x: Field, y: Field, z: Field) -> NDArray[np.float64]:
    """Distance from points ``(n,)`` to the nearest wall of ``branches``, mm."""
    points = np.stack([x, y, z], axis=-1).astype(np.float64)
    nearest = np.full(len(points), np.inf)
    for a, b, (ra, rb) in zip(branches.starts, branches.ends, branches.radii, strict=True):
        d = b - a
        t = np.clip((points - a) @ d / max(float(d @ d), 1e-9), 0, 1)
        np.minimum(nearest, np.linalg.norm(points - a - t[:, None] * d, axis=1) - (ra + (rb - ra) * t), out=nearest)
    return nearest
