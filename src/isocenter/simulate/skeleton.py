"""Ribs, breastbone, collarbones, shoulder blades and the spine."""

from __future__ import annotations

import numpy as np

from isocenter.simulate.canvas import Slab, Tubes
from isocenter.simulate.shapes import Field, ellipse
from isocenter.simulate.torso import CAVITY, TOP, WIDEST, Torso
from isocenter.simulate.vessels import Branches
from isocenter.volume import Points

__all__ = ["chest_bones", "costal_cartilages", "paint_spine", "ribs", "vertebra_height"]

_RIBS = 12
# per rib: how far it falls from back to front, mm, and the angle where bone ends (0 behind, 180 in front)
_FALL = (22, 42, 56, 66, 74, 82, 88, 86, 80, 66, 44, 24)
_END = (150, 152, 150, 148, 146, 144, 140, 134, 126, 116, 100, 74)
_RADIUS = 3.9
_WALL = 6.0


def vertebra_height(torso: Torso, number: int) -> float:
    """Reference z of the middle of thoracic vertebra ``number`` (1 the uppermost), mm."""
    patient = torso.patient
    return 132.0 + patient.vertebra_shift_mm - patient.vertebra_mm * (number - 1)


def _wall_point(angle: Field, z: Field, side: int, depth: float) -> Points:
    """Points of the chest wall, ``depth`` mm outside the cavity, at angles from behind (degrees)."""
    half, deep = CAVITY[0] + depth, CAVITY[1] + depth
    s = np.clip((z - WIDEST) / (TOP + depth - WIDEST), 0.0, 0.93)
    u, v = np.sin(np.radians(angle)) / half, np.cos(np.radians(angle)) / deep
    g = np.sqrt(u**4 + v**4 + 0.7 * u**2 * v**2)
    r = np.sqrt((1 - 0.3 * s**2 - 0.7 * s**4) / g)
    centre = 14.0 * s**2 - 3.0
    return np.stack([side * r * np.sin(np.radians(angle)), centre + r * np.cos(np.radians(angle)), z], axis=-1)


def _rib_line(torso: Torso, i: int, side: int) -> Points:
    top = vertebra_height(torso, i + 1) + 6.0
    part = np.linspace(0.0, 1.0, 18)
    angle = 24.0 + (_END[i] - 24.0) * part
    z = top - 3.0 - _FALL[i] * (0.25 * part + 0.75 * part**1.4)
    line = _wall_point(angle, z, side, _WALL)
    y = float(torso.spine_y(np.array([top]))[0])
    neck = np.array([[side * 17.0, y + 8.0, top], [side * 27.0, y + 17.0, top]])
    return np.concatenate([neck, line])


def ribs(torso: Torso) -> Branches:
    """The bony parts of twelve pairs of ribs."""
    parts = []
    for i in range(_RIBS):
        for side in (-1, 1):
            line = _rib_line(torso, i, side)
            radii = np.full(len(line), _RADIUS)
            radii[:3] = (3.6, 3.0, 3.2)
            parts.append(Branches(*Tubes.path(line, radii)))
    return Branches.join(*parts)


def costal_cartilages(torso: Torso) -> Branches:
    """From the ends of ribs one to ten to the breastbone."""
    parts = []
    for i in range(10):
        for side in (-1, 1):
            end = _rib_line(torso, i, side)[-1]
            goal_z = max(88.0 - 17.0 * min(i, 6) - 3.0 * max(0, i - 6), end[2] - 10.0)
            part = np.linspace(0.0, 1.0, 7)
            first = np.degrees(np.arctan2(abs(end[0]), end[1]))
            angle = first + (173.0 - first) * part
            if i > 6:  # the lower ones join the one above instead of reaching the middle
                angle = first + (0.75 - 0.12 * (i - 6)) * (173.0 - first) * part
            line = _wall_point(angle, end[2] + (goal_z - end[2]) * part**1.3, side, _WALL)
            parts.append(Branches(*Tubes.path(line, 3.7)))
    return Branches.join(*parts)


def chest_bones(torso: Torso) -> list[tuple[Branches, tuple[float, float, float]]]:
    """Breastbone, collarbones, shoulder blades and transverse processes, each with the stretch of its section."""
    z = np.linspace(96.0, -32.0, 9)
    middle = _wall_point(np.full(9, 180.0), z, 1, 7.0)
    breastbone = Branches(*Tubes.path(middle, np.array([5.5, 5.8, 5.6, 5.0, 5.0, 5.0, 5.0, 4.6, 3.4])))
    top = middle[0]
    collar, blades, processes = [], [], []
    for side in (-1, 1):
        start = (side * 20.0, top[1] - 1.0, top[2] + 4.0)
        collar.append(
            Branches.path(
                [start, (side * 55.0, top[1] - 8.0, 112.0), (side * 95.0, -28.0, 124.0), (side * 132.0, -2.0, 132.0)],
                [6.5, 5.2, 5.2, 6.0],
            )
        )
        blade = [(72.0, 92.0, 40.0), (92.0, 88.0, 46.0), (112.0, 76.0, 54.0), (126.0, 60.0, 62.0)]
        blades.append(Branches(*Tubes.path(np.array([(side * a, b, c) for a, b, c in blade]), [2.4, 2.2, 2.6, 4.0])))
        for number in range(1, 13):
            height = vertebra_height(torso, number)
            y = float(torso.spine_y(np.array([height]))[0])
            line = np.array([(side * 11.0, y + 24.0, height + 1.0), (side * 31.0, y + 32.0, height + 3.0)])
            processes.append(Branches(*Tubes.path(line, [4.6, 4.2])))
    return [
        (breastbone, (3.4, 1.0, 1.0)),
        (Branches.join(*collar), (1.0, 1.0, 1.0)),
        (Branches.join(*blades), (1.0, 1.0, 17.0)),
        (Branches.join(*processes), (1.0, 1.0, 1.0)),
    ]


def paint_spine(slab: Slab, torso: Torso, label: int | None) -> None:
    """Vertebral bodies, discs, arches and spinous processes, with the canal and the cord."""
    box = slab.box((-30, 20, -400), (30, 125, 400))
    if box is None:
        return
    x, y, z = slab.at(box)
    tissue = torso.patient.tissue
    phase = (z - np.float32(vertebra_height(torso, 1))) * np.float32(1 / torso.patient.vertebra_mm)
    phase -= np.floor(phase + 0.5)  # 0 in the middle of a vertebra, up to half on both sides
    behind = y - 105.0  # thorns end under the skin
    y = y - torso.spine_y(z)
    grow = 1.0 - 0.0009 * z
    waist = 1.0 - 0.55 * (0.25 - phase * phase)
    body = ellipse(x, y, 19.0 * grow * waist, 15.5 * grow * waist)
    end = (np.abs(phase) - 0.39) * np.float32(torso.patient.vertebra_mm)
    disc = np.maximum(ellipse(x, y, 17.5 * grow, 14.5 * grow), -end)
    canal_y = y - (13.0 * grow + 8.5)
    ring = np.sqrt(x * x + canal_y * canal_y)
    arch = np.maximum(np.abs(ring - 11.5) - 2.6, (np.abs(phase - 0.05) - 0.3) * np.float32(torso.patient.vertebra_mm))
    slope = phase + (canal_y - 12.0) * np.float32(0.55 / torso.patient.vertebra_mm)
    slope -= np.floor(slope + 0.5)
    thorn = np.maximum(np.abs(x) - 2.8, (np.abs(slope) - 0.26) * np.float32(torso.patient.vertebra_mm))
    thorn = np.maximum(thorn, np.maximum(9.0 - canal_y, np.maximum(canal_y - 28.0, behind)))
    slab.paint(box, disc, 85.0, label)
    bone = np.minimum(np.minimum(np.maximum(body, end), arch), thorn)
    slab.paint(box, bone.copy(), _bone(bone, slab, tissue.marrow, tissue.cortex), label)
    hole = ring - 9.0
    slab.paint(box, hole, 12.0, None if label is None else 0)
    slab.paint(box, ellipse(x, canal_y, 5.2, 4.0), 38.0)


def _bone(distance: Field, slab: Slab, marrow: float, cortex: float) -> Field:
    inner = np.clip((distance + 1.4) * (-1.0 / slab.pixel_mm) + 0.5, 0.0, 1.0)
    value: Field = cortex + (marrow - cortex) * inner
    return value
