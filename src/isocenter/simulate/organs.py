"""Painting the soft parts: wall, belly, lungs, heart."""

from __future__ import annotations

import numpy as np

from isocenter.simulate.canvas import Box, Slab
from isocenter.simulate.shapes import Field, ellipsoid, intersect, unite
from isocenter.simulate.torso import Torso

__all__ = ["paint_belly", "paint_heart", "paint_lungs", "paint_wall"]

Textures = tuple[Field, Field]
Labels = dict[str, int]


def paint_wall(slab: Slab, torso: Torso, textures: Textures) -> Box | None:
    """Skin, fat, muscle and the filled cavity. Returns the box that holds the body."""
    box = slab.box((-190, -175, -400), (190, 150, 400))
    if box is None:
        return None
    tissue = torso.patient.tissue
    x, y, z = slab.at(box)
    coarse, fine = textures[0][box], textures[1][box]
    skin = torso.skin(x, y, z)
    fat = tissue.fat + 3.0 * coarse + 4.0 * fine
    depth = torso.fat_depth(x, y)
    depth += 0.8 * coarse
    muscle = skin + depth
    cavity = torso.cavity(x, y, z)
    slab.paint(box, skin.copy(), tissue.skin)
    slab.paint(box, skin + 1.8, fat)
    # muscle, parted by fat: under the shoulder girdle, and where it lies on the ribs
    slab.paint(box, muscle, tissue.muscle + tissue.texture * coarse + 3.0 * fine)
    plane = np.abs(cavity - (14.0 + 2.0 * coarse)) - (0.3 + 0.6 * coarse)
    slab.paint(box, np.maximum(plane, skin + 8.0), fat)
    if torso.patient.breast_mm > 0:
        _breasts(slab, torso, skin, coarse, fine)
    for side in (-1, 1):
        armpit = slab.box((min(side * 75, side * 150), -45, 20), (max(side * 75, side * 150), 45, 140))
        if armpit is not None:
            px, py, pz = slab.at(armpit)
            pad = ellipsoid(px - side * 118.0, py - 2.0, pz - 92.0, (22.0, 30.0, 46.0))
            slab.paint(armpit, pad, tissue.fat + 4.0 * textures[1][armpit])
    slab.paint(box, cavity, tissue.fat + 8.0 + 4.0 * coarse + 8.0 * fine)
    return box


def _breasts(slab: Slab, torso: Torso, skin: Field, coarse: Field, fine: Field) -> None:
    box = slab.box((-190, -175, -400), (190, 150, 400))
    if box is None:
        return
    x, y, z = slab.at(box)
    height = torso.patient.breast_mm
    gland = ellipsoid(np.abs(x) - 86.0, y + 114.0, z - 2.0, (40.0, 6.0 + 0.6 * height, 40.0))
    gland += 5.0 * fine + 3.0 * coarse
    slab.paint(box, np.maximum(gland, skin + 6.0), 15.0)


def paint_lungs(slab: Slab, torso: Torso, textures: Textures, labels: Labels) -> None:
    """Lung tissue, denser towards the back where blood settles."""
    box = slab.box((-132, -92, -160), (132, 92, 132))
    if box is None:
        return
    x, y, z = slab.at(box)
    distance = torso.lungs(x, y, z)
    value = torso.patient.tissue.lung + 0.35 * y - 0.1 * z
    value += 14.0 * textures[0][box] + 12.0 * textures[1][box]
    _fissures(value, slab, box, textures[0][box])
    for name, side in (("lung_right", -1), ("lung_left", 1)):
        slab.paint(box, np.maximum(distance, (5.0 - x) * side), value, labels.get(name))


def _fissures(value: Field, slab: Slab, box: Box, coarse: Field) -> None:
    """The folds of pleura between the lobes: oblique in both lungs, a level one in front of it in the right."""
    x, y, z = slab.at(box)
    oblique = 0.62 * y - 0.78 * z - 8.0 + 4.0 * coarse
    level = np.where((x < 0) & (oblique < 0), z - 12.0 + 5.0 * coarse, 1e3)
    for sheet in (oblique, level):
        share = np.clip(0.5 - (np.abs(sheet) - 0.4) / slab.pixel_mm, 0.0, 1.0)
        value += share * np.float32(110.0 / max(1.0, slab.pixel_mm))


def paint_belly(slab: Slab, torso: Torso, textures: Textures, labels: Labels) -> None:
    """Diaphragm, stomach, spleen, kidneys and liver."""
    box = slab.box((-132, -92, -400), (132, 92, -20))
    if box is None:
        return
    tissue = torso.patient.tissue
    x, y, z = slab.at(box)
    coarse, fine = textures[0][box], textures[1][box]
    below = -torso.diaphragm(x, y, z)
    inside = torso.cavity(x, y, z) + 2.5
    sheet = np.maximum(np.abs(below - 1.0) - 1.6, inside - 2.0)
    soft = tissue.texture * coarse + 2.0 * fine
    slab.paint(box, sheet, tissue.muscle - 5.0)
    room = np.maximum(below + 2.8, inside)
    stomach = np.maximum(ellipsoid(x - 58.0, y + 22.0, z + 112.0, (40.0, 46.0, 46.0)), room)
    gas = np.maximum(stomach + 4.0, y - torso.patient.stomach_gas)
    slab.paint(box, stomach.copy(), tissue.muscle)
    slab.paint(box, stomach + 4.0, 22.0)
    slab.paint(box, gas, -960.0)
    spleen = np.maximum(ellipsoid(x - 96.0, y - 44.0, z + 112.0, (27.0, 44.0, 44.0)), room)
    slab.paint(box, spleen, tissue.spleen + soft)
    for side in (-1, 1):
        kidney = ellipsoid(x - side * 55.0, y - 50.0, z + (172.0 if side < 0 else 164.0), (27.0, 24.0, 48.0))
        slab.paint(box, np.maximum(kidney, room), tissue.kidney + soft)
    right = ellipsoid(x + 58.0, y + 2.0, z + 118.0, (78.0, 84.0, 92.0))
    left = ellipsoid(x - 18.0, y + 42.0, z + 96.0, (74.0, 38.0, 36.0))
    liver = intersect(unite(right, left, 20.0), room, 4.0)
    liver = intersect(liver, -ellipsoid(x - 16.0, y - 62.0, z * 0.0, (42.0, 46.0, 1e4)), 12.0)
    slab.paint(box, liver, tissue.liver + soft, labels.get("liver"))


def paint_heart(slab: Slab, torso: Torso, textures: Textures, labels: Labels) -> None:
    """Wall of the heart with its four chambers."""
    box = slab.box((-75, -95, -110), (105, 60, 50))
    if box is None:
        return
    tissue = torso.patient.tissue
    x, y, z = slab.at(box)
    wall = torso.heart(x, y, z)
    u, v, w = torso.heart_frame(x, y, z)
    soft = tissue.texture * textures[0][box] + 2.0 * textures[1][box]
    blood = tissue.blood + soft
    groove = np.maximum(np.abs(u + 19.0) - 2.2, -wall - 7.0)  # fat where atria and ventricles meet
    inner = wall + 2.5
    chambers = (
        ellipsoid(u - 16.0, v - 13.0, w, (37.0, 20.0, 21.0)),
        ellipsoid(u - 12.0, v + 29.0, w + 2.0, (42.0, 12.0, 31.0)),
        ellipsoid(u + 42.0, v - 16.0, w, (18.0, 24.0, 30.0)),
        ellipsoid(u + 42.0, v + 25.0, w, (20.0, 17.0, 28.0)),
    )
    slab.paint(box, wall.copy(), tissue.myocardium + soft, labels.get("heart"))
    for chamber in chambers:
        slab.paint(box, np.maximum(chamber, inner), blood)
    slab.paint(box, np.maximum(groove, wall), tissue.fat + 20.0)
