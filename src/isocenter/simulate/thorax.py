"""Simulated chest CT: one case in memory, or a folder of studies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from isocenter.errors import ConfigError
from isocenter.simulate._random import derived_uid, stream
from isocenter.simulate.nodules import Nodule
from isocenter.simulate.options import Recipe, ThoraxOptions
from isocenter.simulate.phantom import Thorax
from isocenter.simulate.scanner import ScannerProfile, scan
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from isocenter.records import LabelSchema
    from isocenter.simulate.patient import Patient

__all__ = ["SimulatedCase", "simulate_thorax", "thorax"]

_CENTRE_Y_MM = 5.0


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """One simulated examination with its truth.

    Attributes:
        index: Its number, from 0.
        seed: Seed of the population.
        image: CT, int16 HU, slices from feet to head.
        labels: Label map, uint8, values of ``schema``, on the same grid.
        schema: Structures.
        nodules: Every nodule, labelled or not.
        profile: Scanner.
        patient: Build and tissue values.
        recipe: What it was made from, in words; goes into its identifiers.
    """

    index: int
    seed: int
    image: Volume
    labels: Volume
    schema: LabelSchema
    nodules: tuple[Nodule, ...]
    profile: ScannerProfile
    patient: Patient
    recipe: str = field(repr=False, default="")

    @property
    def id(self) -> str:
        """Name of the case, ``"thorax_0001"`` for index 0."""
        return f"thorax_{self.index + 1:04d}"

    @property
    def patient_id(self) -> str:
        """Pseudonym of the patient, ``"SIM-0001"`` for index 0."""
        return f"SIM-{self.index + 1:04d}"

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure by counting voxels, millilitres."""
        voxel = self.labels.grid.voxel_volume_ml
        return {
            s.name: round(float((self.labels.array == s.values[0]).sum()) * voxel, 3) for s in self.schema.structures
        }

    def row(self) -> dict[str, str]:
        """The case in ``cases.csv``: classes and attributes."""
        return {
            "case": self.id,
            "patient": self.patient_id,
            "class.nodule": "yes" if self.nodules else "no",
            "n_nodules": str(len(self.nodules)),
            "scanner": self.profile.name,
            "kernel": self.profile.kernel,
            "contrast": "yes" if self.patient.contrast else "no",
            "sex": self.patient.sex,
            "age": str(self.patient.age),
        }

    def truth(self) -> dict[str, Any]:
        """What is known of the case, as plain values for JSON."""
        return {
            **self.row(),
            "seed": self.seed,
            "index": self.index,
            "age": self.patient.age,
            "n_nodules": len(self.nodules),
            "volumes_ml": self.volumes_ml(),
            "nodules": [
                {
                    "center_mm": n.center_mm,
                    "diameter_mm": n.diameter_mm,
                    "density": n.density,
                    "hu": n.hu,
                    "side": n.side,
                    "volume_ml": round(n.volume_ml, 4),
                }
                for n in self.nodules
            ],
        }


def thorax(index: int, seed: int, **options: Unpack[ThoraxOptions]) -> SimulatedCase:
    """One simulated chest CT in memory.

    The same ``index``, ``seed`` and options give the same voxels, however many cases are made and in whatever order.

    Args:
        index: Number of the case, from 0.
        seed: Seed of the population.
        **options: See `ThoraxOptions`.

    Raises:
        ConfigError: An option out of range, or nodules that do not fit.
        LabelError: A structure that the phantom does not have.

    Example:
        >>> case = thorax(0, seed=7, matrix=48, slice_mm=12, structures=["lung_left", "lung_right"])
        >>> case.schema.names
        ('lung_left', 'lung_right')
        >>> case.image.unit, case.image.grid.orientation
        ('HU', 'SPL')
    """
    recipe = Recipe(**options)
    body = Thorax.draw(
        seed=seed,
        case=index,
        nodules=recipe.nodules,
        nodule_mm=recipe.nodule_mm,
        densities=recipe.densities,
        structures=None if recipe.structures is None else tuple(recipe.structures),
    )
    profile = recipe.profile(index)
    story = f"{recipe!r} {profile!r}"
    grid = _grid(body, profile, recipe.matrix, derived_uid(seed, index, story, "frame of reference"))
    image, labels = scan(body, grid, profile, stream(seed, index, "noise"), noise=recipe.noise)
    return SimulatedCase(index, seed, image, labels, body.schema, body.nodules, profile, body.patient, story)


def _grid(body: Thorax, profile: ScannerProfile, matrix: int, frame: str) -> Grid:
    # few decimals, so that DICOM's decimal strings hold them exactly
    pixel = round(profile.field_mm / matrix, 4)
    low, high = body.extent_mm()
    count = max(2, math.ceil((high - low) / profile.slice_mm) + 1)
    corner = round(-pixel * (matrix - 1) / 2, 3)
    return Grid.regular(
        (count, matrix, matrix),
        spacing_mm=(profile.slice_mm, pixel, pixel),
        origin_mm=(corner, round(corner + _CENTRE_Y_MM, 3), round(low, 1)),
        frame=frame,
    )


def simulate_thorax(
    out: str | Path,
    *,
    cases: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[ThoraxOptions],
) -> list[Path]:
    """Write simulated chest CT studies as DICOM, with their truth.

    ``out/thorax_0001/ct/*.dcm`` is the series, ``out/thorax_0001/seg.dcm`` the truth as a DICOM Segmentation on it,
    ``out/thorax_0001/truth.json`` volumes and nodules, ``out/cases.csv`` one row a case: class ``nodule`` (yes, no) and
    attributes such as the scanner. Each case appears whole or not at all.

    Args:
        out: Folder to make; it may exist when it is empty.
        cases: How many, 1 or more.
        seed: Seed of the population.
        progress: Called with the number of cases done and of all, first with none done.
        **options: See `ThoraxOptions`.

    Returns:
        The folders of the cases.

    Raises:
        ConfigError: An option out of range, or ``out`` is not empty or cannot be written.
        LabelError: A structure that the phantom does not have.
    """
    from isocenter.simulate.write import write_study, write_table

    folder = Path(out)
    if cases < 1:
        raise ConfigError(f"{cases} cases asked for; ask for 1 or more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not an empty folder; give another place")
    report = progress or (lambda done, total: None)
    report(0, cases)
    written, rows = [], []
    for index in range(cases):
        case = thorax(index, seed, **options)
        written.append(write_study(folder / case.id, case))
        rows.append(case.row())
        report(index + 1, cases)
    write_table(folder / "cases.csv", rows)
    return written
