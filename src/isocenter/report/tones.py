"""Values of an image in one byte: 256 levels, close together where eyes need them, and the windows to look through.

A browser then shows any window by a table of 256 greys, at once. For CT the levels are 3.25 HU apart in soft tissue,
12 HU in the lungs, about 50 HU in bone: finer than the noise of a clinical image at the resolution of the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from isocenter.volume import Volume

__all__ = ["Tones", "Window", "tones_of"]

_BINS = 4096
_SAMPLE = 1_000_000
_BONE_HU, _LUNG_HU = 180.0, -400.0


@dataclass(frozen=True)
class Window:
    """A range of values shown from black to white: ``level`` its middle, ``width`` its extent."""

    name: str
    level: float
    width: float


@dataclass(frozen=True)
class Tones:
    """How an image is kept and shown.

    Attributes:
        levels: The 256 values, rising, that bytes 0..255 stand for.
        windows: Presets, the usual one first.
        unit: As a person reads it.
    """

    levels: NDArray[np.float64]
    windows: tuple[Window, ...]
    unit: str

    def encode(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Byte of the nearest level; what is not finite counts as the lowest."""
        low, high = float(self.levels[0]), float(self.levels[-1])
        bins = np.linspace(low, high, _BINS)
        middles = (self.levels[1:] + self.levels[:-1]) / 2
        table = np.searchsorted(middles, bins).astype(np.uint8)
        scaled = np.nan_to_num(values.astype(np.float32), nan=low, posinf=high, neginf=low)
        scaled -= low
        scaled *= (_BINS - 1) / (high - low)
        np.clip(scaled, 0, _BINS - 1, out=scaled)
        return np.asarray(table[np.rint(scaled).astype(np.uint16)])

    def suiting(self, inside: float | None, around: float | None = None) -> Window:
        """The window that suits what was found, by the mean of its values and of those around it (CT only)."""
        windows = {window.name: window for window in self.windows}
        known = [value for value in (inside, around) if value is not None]
        if self.unit == "HU" and inside is not None and inside > _BONE_HU:
            return windows["Bone"]
        if self.unit == "HU" and known and min(known) < _LUNG_HU:
            return windows["Lung"]
        return self.windows[0]


def tones_of(volume: Volume) -> Tones:
    """Levels and windows that fit an image's unit and values.

    Example:
        >>> from isocenter.volume import Grid, Volume
        >>> ct = Volume(np.zeros((1, 2, 2), np.int16), Grid.regular((1, 2, 2), spacing_mm=(1, 1, 1)), "HU")
        >>> [w.name for w in tones_of(ct).windows]
        ['Soft tissue', 'Lung', 'Bone']
    """
    if volume.unit == "HU":
        parts = (np.arange(-1024, -200, 12), np.arange(-200, 300, 3.25), np.linspace(300, 2000, 33))
        windows = (Window("Soft tissue", 40, 400), Window("Lung", -600, 1500), Window("Bone", 400, 1800))
        return Tones(np.concatenate(parts).astype(np.float64), windows, "HU")
    if volume.unit == "probability":
        return Tones(np.linspace(0, 1, 256), (Window("0 to 1", 0.5, 1.0),), "")
    if volume.array.dtype == np.uint8:
        return Tones(np.arange(256.0), (Window("Full", 127.5, 255),), "")
    values = _sample(volume.array)
    if volume.unit == "SUVbw":
        top = max(10.0, float(np.percentile(values, 99.99)))
        return Tones(
            top * np.linspace(0, 1, 256) ** 2, (Window("SUV 0 to 10", 5, 10), Window("SUV 0 to 5", 2.5, 5)), "SUV"
        )
    low, dark, bright, high = (float(v) for v in np.percentile(values, (0, 1, 99.5, 99.97)))
    high = high if high > low else low + 1
    bright = bright if bright > dark else high
    usual, full = Window("Auto", (dark + bright) / 2, bright - dark), Window("Full", (low + high) / 2, high - low)
    same = usual.level == full.level and usual.width == full.width
    return Tones(np.linspace(low, high, 256), (full,) if same else (usual, full), "")


def _sample(array: NDArray[Any]) -> NDArray[np.float64]:
    flat = array.reshape(-1)
    values = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
    values = values[np.isfinite(values)]
    return values if len(values) else np.zeros(1)
