"""Distance functions of simple bodies, and how to join them.

Each gives the signed distance in mm to a surface, negative inside, right to first order near the surface: implicit
function over its gradient (Taubin, IEEE PAMI 1991). All take and give arrays of one shape, float32 where images are
painted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "ellipse", "ellipsoid", "intersect", "squircle", "unite"]

Field = NDArray[np.floating[Any]]
_TINY = np.float32(1e-6)


def ellipsoid(x: Field, y: Field, z: Field, radii: tuple[float, float, float]) -> Field:
    """Ellipsoid round the origin.

    Example:
        >>> at = [np.float32([v]) for v in (12, 0, 0)]
        >>> ellipsoid(*at, (10, 20, 30)).round(1).tolist()
        [2.0]
    """
    a, b, c = (1.0 / r for r in radii)
    u, v, w = x * a, y * b, z * c
    k = u * u
    k += v * v
    k += w * w
    u *= a
    v *= b
    w *= c
    slope = u * u
    slope += v * v
    slope += w * w
    return _first_order(k, slope)


def ellipse(x: Field, y: Field, a: Field | float, b: Field | float) -> Field:
    """Elliptic cylinder along z, semi-axes ``a`` and ``b`` (numbers, or fields that change slowly)."""
    u, v = x / a, y / b
    k = u * u
    k += v * v
    u /= a
    v /= b
    slope = u * u
    slope += v * v
    return _first_order(k, slope)


def _first_order(k: Field, slope: Field) -> Field:
    # k is the squared scaled radius, slope the squared length of half its gradient
    root = np.sqrt(k)
    slope += _TINY
    np.sqrt(slope, out=slope)
    k -= root
    k /= slope
    return k


def squircle(u: Field, v: Field, corner: float) -> tuple[Field, Field, Field]:
    """Cross-section between an ellipse and a rounded rectangle, in scaled coordinates.

    ``u**4 + v**4 + 2 * corner * u**2 * v**2 = 1``: an ellipse at corner 1, nearly a rectangle at 0.

    Returns:
        The root of the left side (1 on the outline, a square of a radius elsewhere), and its derivatives by u and v.
    """
    u2, v2 = u * u, v * v
    g = u2 * u2
    g += v2 * v2
    cross = u2 * v2
    cross *= 2 * corner
    g += cross
    np.sqrt(g, out=g)
    inverse = 2.0 / (g + _TINY)
    du = (u2 + corner * v2) * u
    du *= inverse
    dv = (v2 + corner * u2) * v
    dv *= inverse
    return g, du, dv


def unite(a: Field, b: Field, blend_mm: float) -> Field:
    """Union of two bodies with a fillet of about ``blend_mm``."""
    h = np.abs(a - b)
    np.subtract(blend_mm, h, out=h)
    np.maximum(h, 0, out=h)
    h *= h
    h *= 0.25 / blend_mm
    out: Field = np.minimum(a, b)
    out -= h
    return out


def intersect(a: Field, b: Field, blend_mm: float) -> Field:
    """Intersection of two bodies with edges rounded over about ``blend_mm``."""
    return -unite(-a, -b, blend_mm)
