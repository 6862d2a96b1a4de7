"""Smooth random fields: sums of a few plane waves.

A plane wave is separable along the index axes of *any* affine grid, so a field on a slab of planes is one small matrix
product, whatever the number of voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isocenter.simulate.shapes import Field
from isocenter.volume import Grid, Points

__all__ = ["Warp", "Waves"]


@dataclass(frozen=True, eq=False)
class Waves:
    """``sum_m weights[m] * cos(vectors[m] . p + phases[m])`` for every column of ``weights``.

    Attributes:
        vectors: Wave vectors, ``(m, 3)``, radians per mm.
        phases: ``(m,)``, radians.
        weights: ``(m, fields)``.
    """

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]
    weights: NDArray[np.float64]

    @staticmethod
    def draw(
        rng: np.random.Generator, *, count: int, lengths_mm: tuple[float, float], fields: int = 1, rms: float = 1.0
    ) -> Waves:
        """Random waves of lengths log-uniform in ``lengths_mm``, whose sum has root mean square ``rms`` per field."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(lengths_mm[0]), np.log(lengths_mm[1]), count))
        weights = rng.normal(size=(count, fields))
        weights *= rms * np.sqrt(2.0) / np.linalg.norm(weights, axis=0)
        return Waves(directions * (2 * np.pi / lengths)[:, None], rng.uniform(0, 2 * np.pi, count), weights)

    def at(self, points_mm: Points) -> NDArray[np.float64]:
        """Values at points ``(..., 3)``, shape ``(..., fields)``."""
        out: NDArray[np.float64] = np.cos(points_mm @ self.vectors.T + self.phases) @ self.weights
        return out

    def on(self, grid: Grid) -> list[Field]:
        """Values at every voxel centre of ``grid``, one float32 array per field."""
        steps = grid.affine[:3, :3]
        start = self.vectors @ grid.affine[:3, 3] + self.phases
        turn = [np.exp(1j * np.outer(np.arange(n), self.vectors @ steps[:, axis])) for axis, n in enumerate(grid.shape)]
        turn[0] = turn[0] * np.exp(1j * start)
        left = (turn[0][:, None, :] * turn[1][None, :, :]).reshape(-1, len(self.phases))
        right = turn[2].T
        across = np.concatenate([right.real, right.imag]).astype(np.float32)
        out = []
        for weight in self.weights.T:
            rows = np.concatenate([left.real * weight, -left.imag * weight], axis=1).astype(np.float32)
            out.append((rows @ across).reshape(grid.shape))
        return out


@dataclass(frozen=True, eq=False)
class Warp:
    """Smooth invertible change of shape: patient place -> place in the reference anatomy, ``q = (p + u(p)) / scale``.

    Attributes:
        waves: Displacement ``u`` in mm, three fields.
        scale: Size of the patient against the reference along x, y, z.
    """

    waves: Waves
    scale: tuple[float, float, float]

    MAX_STRAIN = 0.45

    @staticmethod
    def draw(rng: np.random.Generator, *, scale: tuple[float, float, float], rms_mm: float) -> Warp:
        """Random displacement of about ``rms_mm``, held below a strain of `MAX_STRAIN` so that it can be inverted."""
        waves = Waves.draw(rng, count=6, lengths_mm=(180.0, 420.0), fields=3, rms=rms_mm)
        sizes = np.linalg.norm(waves.vectors, axis=1) * np.linalg.norm(waves.weights, axis=1)
        limit = min(1.0, Warp.MAX_STRAIN / float(sizes.sum())) if sizes.sum() > 0 else 1.0
        return Warp(Waves(waves.vectors, waves.phases, waves.weights * limit), scale)

    @property
    def reach_mm(self) -> float:
        """Bound of the displacement along any axis."""
        return float(np.abs(self.waves.weights).sum(axis=0).max())

    def forward(self, points_mm: Points) -> Points:
        """Places in the reference anatomy of patient places ``(..., 3)``."""
        out: Points = (points_mm + self.waves.at(points_mm)) / np.asarray(self.scale)
        return out

    def backward(self, reference_mm: Points) -> Points:
        """Patient places of places in the reference anatomy (fixed-point iteration; the strain bound makes it meet)."""
        goal: Points = np.asarray(reference_mm, dtype=np.float64) * np.asarray(self.scale)
        points: Points = goal.copy()
        for _ in range(25):
            points = goal - self.waves.at(points)
        return points

    def on(self, grid: Grid) -> tuple[Field, Field, Field]:
        """Reference x, y and z at every voxel centre of ``grid``."""
        out = []
        for world, shift in enumerate(self.waves.on(grid)):
            for axis, n in enumerate(grid.shape):
                step = float(grid.affine[world, axis])
                if step != 0.0:
                    line = np.arange(n, dtype=np.float32) * np.float32(step)
                    shift += line.reshape([-1 if a == axis else 1 for a in range(3)])
            shift += np.float32(grid.affine[world, 3])
            shift *= np.float32(1.0 / self.scale[world])
            out.append(shift)
        return out[0], out[1], out[2]
