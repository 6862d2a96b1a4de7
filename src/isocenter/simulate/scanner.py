"""A plain model of a CT scanner: from anatomy to a noisy image on slices of some thickness."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import ConfigError
from isocenter.simulate.shapes import Field
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROFILES", "ScannerProfile", "Scene", "scan"]

HU_RANGE = (-1024, 3071)
REFERENCE_MM = 3.0
_FINEST_MM = 1.7


class Scene(Protocol):
    """What can be scanned: gives values and labels on a few planes of a grid at a time (see `Thorax.planes`)."""

    def planes(self, grid: Grid, *, labelled: slice = ...) -> Iterator[tuple[int, Field, NDArray[np.uint8]]]:
        """Index of the first plane, HU, labels."""
        ...


@dataclass(frozen=True)
class ScannerProfile:
    """A scanner with its protocol. The names are invented.

    Attributes:
        vendor: Manufacturer.
        model: Model name.
        kernel: Name of the reconstruction kernel.
        blur_mm: Standard deviation of the in-plane point spread.
        edge: Edge enhancement of the kernel: 0 none, 1 as strong as the detail it lifts.
        noise_hu: Standard deviation in water at dose 1 and slices of 3 mm.
        grain_mm: Size of the noise grain (standard deviation of the smoothing of white noise).
        slice_mm: Distance of slices.
        thickness_mm: Thickness of slices; more than their distance where they overlap.
        field_mm: Side of the square field of view.
        dose: Relative dose; noise grows with ``1 / sqrt(dose)``.
        intercept: Rescale intercept of the stored values: -1024 (unsigned, 12 bits) or 0 (signed, 16 bits).
        kvp: Tube voltage.
        table: Whether the patient table is seen.

    Raises:
        ConfigError: A length or dose that is not positive, or an intercept other than the two.
    """

    vendor: str
    model: str
    kernel: str
    blur_mm: float
    edge: float
    noise_hu: float
    grain_mm: float
    slice_mm: float = 4.0
    thickness_mm: float = 4.0
    field_mm: float = 380.0
    dose: float = 1.0
    intercept: int = -1024
    kvp: float = 120.0
    table: bool = True

    def __post_init__(self) -> None:
        for name in ("slice_mm", "thickness_mm", "field_mm", "dose"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} of the scanner is {getattr(self, name)}, it must be above 0")
        for name in ("blur_mm", "edge", "noise_hu", "grain_mm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} of the scanner is {getattr(self, name)}, it must be 0 or more")
        if self.intercept not in (-1024, 0):
            raise ConfigError(f"rescale intercept of the scanner is {self.intercept}, it must be -1024 or 0")

    @property
    def name(self) -> str:
        """Vendor and model."""
        return f"{self.vendor} {self.model}"

    def sliced(self, slice_mm: float) -> ScannerProfile:
        """The same scanner with slices of another distance, their thickness changed in proportion."""
        return replace(self, slice_mm=slice_mm, thickness_mm=self.thickness_mm * slice_mm / self.slice_mm)


PROFILES: tuple[ScannerProfile, ...] = (
    ScannerProfile("Vendor A", "Model 64", "STD", 0.75, 0.0, 12.0, 0.9),
    ScannerProfile("Vendor A", "Model 64", "LUNG", 0.45, 0.5, 24.0, 0.5),
    ScannerProfile("Vendor B", "Spiral 128", "B40f", 0.65, 0.1, 10.0, 0.8, 3.0, 3.0, 370.0, intercept=0),
    ScannerProfile("Vendor C", "Volume 16", "FC08", 0.9, 0.0, 16.0, 1.1, 4.0, 5.0, 390.0, table=False),
)
"""Scanners that simulated studies come from, in turn."""


def scan(
    scene: Scene, grid: Grid, profile: ScannerProfile, rng: np.random.Generator, *, noise: float = 1.0
) -> tuple[Volume, Volume]:
    """Image and labels of ``scene`` on ``grid``.

    Along the slice axis the anatomy is averaged over the slice thickness; in the plane it is smoothed, or sharpened, by
    the kernel; then correlated noise is added that grows with what the beam has to pass.

    Args:
        scene: What is scanned.
        grid: Where; the slice distance is that of the grid, the thickness that of ``profile``.
        profile: How.
        rng: Draws the noise.
        noise: Factor on the noise.

    Returns:
        HU as int16 within -1024 to 3071, and the label at each voxel centre as uint8.
    """
    image = np.zeros(grid.shape, np.float32)
    labels = np.empty(grid.shape, np.uint8)
    spacing = grid.spacing_mm
    parts, weights = _slice_profile(spacing[0], profile.thickness_mm)
    reach = len(weights) // 2
    fine = _fine_grid(grid, parts, reach)
    for start, values, found in scene.planes(fine, labelled=slice(reach, None, parts)):
        for i, (plane, label) in enumerate(zip(values, found, strict=True), start=start - reach):
            first, last = math.ceil((i - reach) / parts), math.floor((i + reach) / parts)
            for s in range(max(0, first), min(grid.shape[0] - 1, last) + 1):
                image[s] += plane * weights[i - s * parts + reach]
            if i % parts == 0 and 0 <= i // parts < grid.shape[0]:
                labels[i // parts] = label
    if profile.table:
        _add_table(image, grid)
    sigma = noise * profile.noise_hu * math.sqrt(REFERENCE_MM / profile.thickness_mm / profile.dose)
    for plane in image:
        level = sigma * beam_factor(plane, spacing[1], spacing[2])
        plane[...] = _sharpen(plane, profile, spacing)
        plane += level * grain(rng, (grid.shape[1], grid.shape[2]), profile.grain_mm / spacing[1])
    hu = np.clip(np.rint(image), *HU_RANGE).astype(np.int16)
    return Volume(hu, grid, "HU"), Volume(labels, grid, "label")


def _slice_profile(spacing_mm: float, thickness_mm: float) -> tuple[int, NDArray[np.float32]]:
    """Number of fine planes per slice (odd: one lies in its middle), and their weights within the slice thickness."""
    parts = math.ceil(spacing_mm / _FINEST_MM) // 2 * 2 + 1
    step = spacing_mm / parts
    reach = max(0, math.ceil(thickness_mm / step / 2 - 0.5 - 1e-9))
    edges = (np.arange(-reach, reach + 2) - 0.5) * step
    covered = np.diff(np.clip(edges, -thickness_mm / 2, thickness_mm / 2))
    return parts, (covered / covered.sum()).astype(np.float32)


def _fine_grid(grid: Grid, parts: int, reach: int) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 0] /= parts
    affine[:3, 3] -= reach * affine[:3, 0]
    return Grid(((grid.shape[0] - 1) * parts + 1 + 2 * reach, *grid.shape[1:]), affine, grid.frame)


def _sharpen(plane: Field, profile: ScannerProfile, spacing: tuple[float, float, float]) -> Field:
    from scipy.ndimage import gaussian_filter

    size = (profile.blur_mm / spacing[1], profile.blur_mm / spacing[2])
    smooth: Field = gaussian_filter(plane, size) if min(size) > 0.05 else plane
    if profile.edge > 0:
        wide = gaussian_filter(smooth, tuple(1.0 / s for s in spacing[1:]))
        smooth = smooth + profile.edge * (smooth - wide)
    return smooth


def beam_factor(plane: Field, row_mm: float, column_mm: float) -> float:
    """Noise of a slice against that of a water cylinder of 30 cm: half the mean attenuation goes into the exponent.

    The water-equivalent diameter is that of AAPM report 220; 0.019 per mm is the attenuation of water near 70 keV, and
    tube-current modulation is taken to make up for half of what a thicker body costs.
    """
    water = float(np.maximum(plane / 1000.0 + 1.0, 0.0).sum(dtype=np.float64)) * row_mm * column_mm
    diameter = 2.0 * math.sqrt(water / math.pi)
    return float(np.clip(math.exp((diameter - 300.0) * 0.019 / 4.0), 0.4, 2.5))


def grain(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Field:
    """Noise of standard deviation 1 with the texture of filtered back-projection.

    White noise is smoothed over ``size`` pixels and loses what is coarser than twice that, so that its spectrum rises
    from zero to a peak and falls, as measured spectra do (Riederer, Phys Med Biol 1978).
    """
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal(shape, dtype=np.float32)
    if size < 0.2:
        return white
    fine: Field = gaussian_filter(white, size, mode="wrap", radius=math.ceil(4 * size))
    coarse = gaussian_filter(white, 2.0 * size, mode="wrap", radius=math.ceil(8 * size))
    fine -= np.float32(0.8) * coarse
    fine *= np.float32(1.0 / _grain_gain(size))
    return fine


def _grain_gain(size: float) -> float:
    def kernel(sigma: float, radius: int) -> NDArray[np.float64]:
        k = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        wide = np.zeros(2 * math.ceil(8 * size) + 1)
        middle = len(wide) // 2
        wide[middle - radius : middle + radius + 1] = k / k.sum()
        return wide

    a, b = kernel(size, math.ceil(4 * size)), kernel(2 * size, math.ceil(8 * size))
    return math.sqrt((a @ a) ** 2 - 1.6 * (a @ b) ** 2 + 0.64 * (b @ b) ** 2)


def _add_table(image: Field, grid: Grid) -> None:
    """A hollow carbon-fibre table under the patient: two thin skins with light foam between, where there is air."""
    solid = np.argwhere((image > -500.0).any(axis=2))
    if not len(solid):
        return
    edges = np.stack([solid[:, 0], solid[:, 1], np.full(len(solid), (grid.shape[2] - 1) / 2)], axis=1)
    back = float(grid.to_world(edges)[:, 1].max()) + 3.0
    rows, columns = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
    pixel = grid.spacing_mm[1]
    for s, plane in enumerate(image):
        place = grid.to_world(np.stack([np.full(rows.shape, s), rows, columns], axis=-1))
        x, top = place[..., 0], place[..., 1] - back
        top = top + 0.0008 * x**2  # the upper skin is a trough
        low = place[..., 1] - back - 28.0
        inside = np.clip(0.5 + np.minimum(np.minimum(top, -low), 205.0 - np.abs(x)) / pixel, 0.0, 1.0)
        skin = np.clip(0.5 - (np.minimum(np.abs(top), np.abs(low)) - 0.6) / pixel, 0.0, 1.0) * inside
        covered = (-1000.0 + 55.0 * inside + 500.0 * skin).astype(np.float32)
        np.maximum(plane, covered, out=plane, where=(plane < -950.0) & (top > -pixel))
