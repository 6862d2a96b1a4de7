"""The walls and spaces of the thorax as distance functions in the reference anatomy.

Reference coordinates are LPS mm round the middle of the chest: carina near z = 38, lung apex near 126, top of the right
diaphragm near -50. Every function takes x, y, z of one shape, so the same anatomy is painted on planes and asked
at single points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isocenter.simulate.patient import Patient
from isocenter.simulate.shapes import Field, ellipse, ellipsoid, intersect, squircle, unite

__all__ = ["Torso"]

CAVITY = (132.0, 87.0)
"""Half width and half depth of the inner chest wall, mm."""
WIDEST, TOP = -45.0, 131.0
"""Height below which the cavity no longer widens, and of its apex, mm."""
CHEST = (155.0, 106.0)
"""Half width and half depth of the muscle under the skin fat, mm."""
SPINE_Y = 63.0


@dataclass(frozen=True, eq=False)
class Torso:
    """Distance functions (mm, negative inside) for one patient."""

    patient: Patient

    def skin(self, x: Field, y: Field, z: Field) -> Field:
        """Surface of the body."""
        fat = self.patient.fat_mm
        lift = np.clip((z - 55.0) * (1 / 95.0), 0.0, 1.3)
        lift *= lift
        u = x / (CHEST[0] + fat)
        v = (y - 6.0) / ((CHEST[1] + 0.75 * fat) * (1.0 - 0.26 * lift))
        g, du, dv = squircle(u, v, 0.45)
        du /= CHEST[0] + fat
        dv /= CHEST[1] + 0.75 * fat
        body = _steep(g - 1.0, du, dv)
        if self.patient.breast_mm <= 0:
            return body
        height = self.patient.breast_mm
        breast = ellipsoid(np.abs(x) - 84.0, y + 98.0, z - 2.0, (66.0, 17.0 + height, 66.0))
        return unite(body, breast, 14.0)

    def fat_depth(self, x: Field, y: Field) -> Field:
        """Thickness of the fat under the skin: most at the flanks."""
        across = x * x
        depth: Field = across / (across + 2.0 * y * y + 1.0)
        depth *= 0.35 * self.patient.fat_mm
        depth += 0.7 * self.patient.fat_mm
        return depth

    def cavity(self, x: Field, y: Field, z: Field) -> Field:
        """Inner surface of the chest wall; a dome at the top, open at the bottom."""
        s = np.clip((z - WIDEST) * (1 / (TOP - WIDEST)), 0.0, None)
        s2 = s * s
        u = x * (1 / CAVITY[0])
        v = (y + 3.0 - 14.0 * s2) * (1 / CAVITY[1])
        g, du, dv = squircle(u, v, 0.35)
        du *= 1 / CAVITY[0]
        dv *= 1 / CAVITY[1]
        g += s2 * (0.3 + 0.7 * s2) - 1.0
        dw = s * (0.6 + 2.8 * s2)
        dw *= 1 / (TOP - WIDEST)
        return _steep(g, du, dv, dw)

    def diaphragm(self, x: Field, y: Field, z: Field) -> Field:
        """Distance above the diaphragm is negative: two domes, a flat centre under the heart, deep recesses behind."""
        side = np.clip(x * (1 / 40.0), -1.0, 1.0)
        u = (np.abs(x) - 68.0) * (1 / 60.0)
        v = (y - 2.0) * (1 / 86.0)
        r2 = u * u + v * v
        height = -62.0 + self.patient.dome_mm - 7.0 * side
        height -= r2 * (38.0 + 26.0 * r2)
        back = np.maximum(v, 0.0)
        height -= 32.0 * back * back
        behind = np.maximum(y - 8.0, 0.0)
        centre = -74.0 + 0.6 * self.patient.dome_mm - 0.03 * behind * behind - 0.005 * x * x
        height = -unite(-height, -centre, 16.0)
        slope2 = r2 * (2 / 72.0) ** 2 * (38.0 + 52.0 * r2) ** 2
        distance: Field = (height - z) / np.sqrt(1.0 + slope2)
        return distance

    def spine_y(self, z: Field) -> Field:
        """Where the middle of the vertebral bodies is, front to back."""
        bend = (z - 5.0) * (1 / 150.0)
        out: Field = SPINE_Y + 4.0 - self.patient.kyphosis_mm * bend * bend
        return out

    def mediastinum(self, x: Field, y: Field, z: Field) -> Field:
        """What parts the lungs: the middle block, the folds before and behind it, the spine; without the heart."""
        width = 27.0 + 10.0 * np.clip((z + 25.0) * (1 / 60.0), 0.0, 1.0)
        block = ellipse(x - 4.0, y - 6.0, width, 56.0)
        spine = ellipse(x, y - self.spine_y(z) - 9.0, 26.0, 29.0)
        fold = np.abs(x - 5.0) - 2.5
        out: Field = np.minimum(unite(block, spine, 14.0), fold)
        return out

    def heart_axes(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Rows: to the apex, to the back left, the third; unit vectors."""
        turn = np.radians(self.patient.heart_turn_deg)
        apex = np.array([0.74, -0.45, -0.5])
        apex[:2] = [
            apex[0] * np.cos(turn) - apex[1] * np.sin(turn),
            apex[0] * np.sin(turn) + apex[1] * np.cos(turn),
        ]
        apex /= np.linalg.norm(apex)
        back = np.array([0.55, 0.8, 0.2])
        back -= apex * (back @ apex)
        back /= np.linalg.norm(back)
        return np.stack([apex, back, np.cross(apex, back)])

    def heart_frame(self, x: Field, y: Field, z: Field) -> tuple[Field, Field, Field]:
        """Coordinates along the axes of the heart, in mm of a heart of mean size."""
        scale = 1.0 / self.patient.heart_scale
        x, y, z = x - 20.0, y + 19.0, z + 26.0 - 0.5 * self.patient.dome_mm
        a, b, c = (tuple(float(v) * scale for v in row) for row in self.heart_axes())
        return (
            x * a[0] + y * a[1] + z * a[2],
            x * b[0] + y * b[1] + z * b[2],
            x * c[0] + y * c[1] + z * c[2],
        )

    def heart(self, x: Field, y: Field, z: Field) -> Field:
        """Outer wall of the heart: an egg that tapers to the apex, flat where it lies on the diaphragm."""
        u, v, w = self.heart_frame(x, y, z)
        taper = 1.0 / (1.0 - 0.0022 * np.clip(u, -70.0, 70.0))
        egg = ellipsoid(u, v * taper, w * taper, (69.0, 49.5, 48.5))
        egg *= self.patient.heart_scale
        return intersect(egg, self.diaphragm(x, y, z) + 4.0, 12.0)

    def lungs(self, x: Field, y: Field, z: Field) -> Field:
        """Both lungs together: the cavity above the diaphragm without mediastinum and heart."""
        gap = unite(self.mediastinum(x, y, z), self.heart(x, y, z) - 5.0, 10.0)
        lung = intersect(self.cavity(x, y, z) + 1.5, -gap, 8.0)
        out: Field = np.maximum(lung, self.diaphragm(x, y, z) + 1.0)
        return out


def _steep(value: Field, du: Field, dv: Field, dw: Field | None = None) -> Field:
    """``value`` over the length of its gradient."""
    du *= du
    dv *= dv
    du += dv
    if dw is not None:
        dw *= dw
        du += dw
    du += np.float32(1e-9)
    np.sqrt(du, out=du)
    value /= du
    return value
