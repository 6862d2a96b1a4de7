"""Slow and plain ways to the same values: dense weights, made with scipy."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicHermiteSpline, interp1d

from isocenter.volume import Grid


def linear_weights(places: np.ndarray, size: int) -> np.ndarray:
    """``(n, size)``: linear interpolation with the border repeated."""
    if size == 1:
        return np.ones((len(places), 1))
    return interp1d(np.arange(size), np.eye(size), axis=0)(np.clip(places, 0, size - 1))


def cubic_weights(places: np.ndarray, size: int) -> np.ndarray:
    """``(n, size)``: Catmull-Rom is the cubic Hermite spline whose slopes are central differences."""
    knots = np.arange(-4, size + 4)
    values = np.eye(size)[np.clip(knots, 0, size - 1)]
    return CubicHermiteSpline(knots, values, np.gradient(values, axis=0))(np.clip(places, -3, size + 2))


def triangle_weights(places: np.ndarray, size: int, widen: float) -> np.ndarray:
    """``(n, size)``: a triangle of ``widen`` samples on each side, a whole number; the border is repeated."""
    far = int(np.ceil(widen)) + 1
    samples = np.arange(-far, size + far)
    weights = np.maximum(0, 1 - np.abs(np.clip(places, -1, size)[:, None] - samples) / widen)
    weights /= weights.sum(1, keepdims=True)
    return weights @ np.eye(size)[np.clip(samples, 0, size - 1)]


def places_in(source: Grid, target: Grid) -> np.ndarray:
    """Index in ``source`` of every voxel of ``target``, ``(n, 3)``."""
    return source.to_index(target.to_world(np.stack(np.indices(target.shape), -1))).reshape(-1, 3)


def weighted(values: np.ndarray, places: np.ndarray, weights) -> np.ndarray:
    """Values at scattered places: products of the weights along the three axes."""
    z, y, x = (weights(places[:, a], n) for a, n in enumerate(values.shape))
    return np.einsum("pa,pb,pc,abc->p", z, y, x, values.astype(np.float64), optimize=True)
