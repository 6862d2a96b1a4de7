"""A digital thorax: anatomy as formulas, asked on any grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isocenter.simulate._random import stream
from isocenter.simulate.canvas import Slab, Tubes
from isocenter.simulate.nodules import DENSITIES, Density, Nodule, place_nodules
from isocenter.simulate.organs import paint_belly, paint_heart, paint_lungs, paint_wall
from isocenter.simulate.patient import Patient
from isocenter.simulate.schema import thorax_schema
from isocenter.simulate.shapes import Field
from isocenter.simulate.skeleton import chest_bones, costal_cartilages, paint_spine, ribs
from isocenter.simulate.torso import Torso
from isocenter.simulate.vessels import Branches, great_vessels, lung_trees
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isocenter.records import LabelSchema

__all__ = ["Thorax"]

Stretch = tuple[float, float, float]
_SLAB_VOXELS = 200_000
_LABELLED_AIRWAY_MM = 2.6


@dataclass(frozen=True, eq=False)
class Thorax:
    """One patient's thorax, defined at every point in space.

    Attributes:
        patient: Build and tissue values.
        schema: Structures of the label map.
        nodules: Nodules in the lungs.
        vessels: Pulmonary vessels, reference mm.
        airways: Trachea and bronchi (inner radius), reference mm.

    Example:
        >>> thorax = Thorax.draw(seed=1, case=0, nodules=(1, 1))
        >>> grid = Grid.regular((1, 48, 48), spacing_mm=(5, 8, 8), origin_mm=(-188, -188, 0))
        >>> hu, labels = thorax.render(grid)
        >>> bool(hu.array.min() < -900), bool(hu.array.max() > 100)
        (True, True)
    """

    patient: Patient
    schema: LabelSchema
    nodules: tuple[Nodule, ...]
    vessels: Branches
    airways: Branches

    @staticmethod
    def draw(
        *,
        seed: int,
        case: int,
        nodules: tuple[int, int] = (0, 3),
        nodule_mm: tuple[float, float] = (6.0, 24.0),
        densities: tuple[Density, ...] = DENSITIES,
        structures: tuple[str, ...] | None = None,
    ) -> Thorax:
        """The patient number ``case`` of the population ``seed``.

        Args:
            seed: Seed of the population.
            case: Number of the patient, 0 or more.
            nodules: Least and most nodules.
            nodule_mm: Least and largest diameter.
            densities: Kinds of nodules.
            structures: Names of the structures to label; ``None`` labels all.

        Raises:
            ConfigError: Seed or case negative, or nodules that do not fit.
            LabelError: A structure that the phantom does not have.
        """
        patient = Patient.draw(seed, case)
        torso = Torso(patient)
        vessels, airways = lung_trees(torso, stream(seed, case, "trees"))
        found = place_nodules(
            torso,
            stream(seed, case, "nodules"),
            Branches.join(vessels, airways),
            number=nodules,
            diameter_mm=nodule_mm,
            densities=densities,
        )
        return Thorax(patient, thorax_schema(structures), tuple(found), vessels, airways)

    def render(self, grid: Grid) -> tuple[Volume, Volume]:
        """CT values (float32, HU) and label map (uint8, values of ``schema``) at the voxels of ``grid``.

        Along slices and rows, edges are smoothed over a pixel; along the slice axis the plane is sampled.
        """
        hu = np.empty(grid.shape, np.float32)
        label = np.empty(grid.shape, np.uint8)
        for start, values, labels in self.planes(grid):
            hu[start : start + len(values)] = values
            label[start : start + len(values)] = labels
        return Volume(hu, grid, "HU"), Volume(label, grid, "label")

    def planes(self, grid: Grid, *, labelled: slice = slice(None)) -> Iterator[tuple[int, Field, NDArray[np.uint8]]]:
        """Parts of `render`, a few planes at a time: index of the first plane, HU, labels.

        Args:
            grid: Where.
            labelled: Planes that get labels.
        """
        count, rows, columns = grid.shape
        wanted = np.zeros(count, np.bool_)
        wanted[labelled] = True
        step = max(1, min(24, _SLAB_VOXELS // (rows * columns)))
        for start in range(0, count, step):
            stop = min(count, start + step)
            slab = Slab(grid.crop((start, 0, 0), (stop, rows, columns)), self.patient.warp, wanted[start:stop])
            self._paint(slab)
            yield start, slab.hu, slab.label

    def extent_mm(self) -> tuple[float, float]:
        """Lowest and highest z of a scan that covers both lungs, patient mm."""
        scale, reach = self.patient.warp.scale[2], self.patient.warp.reach_mm
        return -150.0 * scale - 0.3 * reach, 134.0 * scale + 0.3 * reach

    @property
    def labels(self) -> dict[str, int]:
        """Value of each structure in the label map."""
        return {s.name: s.values[0] for s in self.schema.structures}

    def _paint(self, slab: Slab) -> None:
        torso, labels = Torso(self.patient), self.labels
        coarse, fine = (waves.on(slab.grid)[0] for waves in self.patient.texture)
        textures = (coarse, fine)
        if paint_wall(slab, torso, textures) is None:
            return
        paint_belly(slab, torso, textures, labels)
        paint_lungs(slab, torso, textures, labels)
        for tubes in self._tubes["before the heart"]:
            slab.tubes(tubes)
        paint_heart(slab, torso, textures, labels)
        for tubes in self._tubes["after the heart"]:
            slab.tubes(tubes)
        paint_spine(slab, torso, labels.get("spine"))
        for tubes in self._tubes["bones and nodules"]:
            slab.tubes(tubes)

    @cached_property
    def _tubes(self) -> dict[str, list[Tubes]]:
        tissue, labels, torso = self.patient.tissue, self.labels, Torso(self.patient)
        arteries, veins, lower, gullet = great_vessels(self.patient)
        large = self.airways.radii.max(axis=1) >= _LABELLED_AIRWAY_MM
        trunk, twigs = _select(self.airways, large), _select(self.airways, ~large)
        airway = labels.get("airways")
        wrap = Branches.join(arteries, veins, gullet)
        before = [
            self._lay(_wider(wrap, 3.0), tissue.fat + 15.0, 0),
            self._lay(self.vessels, tissue.blood),
            self._lay(_wider(twigs, 0.6, 0.15), -100.0),
            self._lay(_wider(trunk, 0.8, 0.1), 20.0, airway),
            self._lay(gullet, 35.0, 0),
        ]
        after = [
            self._lay(Branches.join(veins, lower), tissue.blood - 4.0, None),
            self._lay(arteries, tissue.blood, None),
            self._lay(twigs, -960.0),
            self._lay(trunk, -985.0, airway),
        ]
        bones = [
            self._lay(costal_cartilages(torso), tissue.cartilage, stretch=(1.0, 1.0, 1.5)),
            *(self._bone(branches, None, stretch) for branches, stretch in chest_bones(torso)[:3]),
            self._bone(chest_bones(torso)[3][0], labels.get("spine"), (1.0, 1.0, 1.0)),
            self._bone(ribs(torso), labels.get("ribs"), (1.0, 1.0, 1.7)),
            *self._nodule_tubes(),
        ]
        return {"before the heart": before, "after the heart": after, "bones and nodules": bones}

    def _lay(
        self,
        branches: Branches,
        hu: float,
        label: int | None = None,
        stretch: Stretch = (1.0, 1.0, 1.0),
    ) -> Tubes:
        """Branches of the reference anatomy as tubes in the patient."""
        warp = self.patient.warp
        return Tubes(warp.backward(branches.starts), warp.backward(branches.ends), branches.radii, hu, label, stretch)

    def _bone(self, branches: Branches, label: int | None, stretch: Stretch) -> Tubes:
        laid, tissue = self._lay(branches, 0.0), self.patient.tissue
        rim = (1.2, tissue.cortex)
        return Tubes(laid.starts, laid.ends, laid.radii, tissue.marrow, label, stretch, rim)

    def _nodule_tubes(self) -> Iterator[Tubes]:
        label = self.labels.get("nodule")
        for nodule in self.nodules:
            at = np.asarray([nodule.center_mm])
            yield Tubes(at, at, np.full((1, 2), nodule.diameter_mm / 2), nodule.hu, label)
            if nodule.density == "part-solid":
                yield Tubes(at, at, np.full((1, 2), nodule.core_mm / 2), 30.0)


def _select(branches: Branches, chosen: NDArray[np.bool_]) -> Branches:
    return Branches(branches.starts[chosen], branches.ends[chosen], branches.radii[chosen])


def _wider(branches: Branches, add_mm: float, share: float = 0.0) -> Branches:
    """The same branches with a wall of ``add_mm`` plus ``share`` of the radius."""
    return Branches(branches.starts, branches.ends, branches.radii * (1.0 + share) + add_mm)
