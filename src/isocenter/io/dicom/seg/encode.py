"""Masks, label maps and probabilities to the frames of a segmentation, one plane at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isocenter.errors import LabelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.records import LabelSchema

__all__ = ["LEVELS", "Encoded", "Kind", "MaskPlanes", "encode"]

Kind = Literal["binary", "fractional", "labelmap"]

LEVELS = 255
"""Maximum Fractional Value: fractions are rounded to 1/255, so they are off by 1/510 at most."""
_IGNORE = 255
_SLACK = 1e-6  # of sums of probabilities in single precision


@dataclass(frozen=True)
class Encoded:
    """Frames in the order of the file.

    Attributes:
        frames: Segment number (0 in a label map) and index of the plane of each.
        pixels: Value of Pixel Data.
        overlap: Value of Segments Overlap.
    """

    frames: list[tuple[int, int]]
    pixels: bytes
    overlap: str


def encode(array: NDArray[Any], schema: LabelSchema, kind: Kind) -> Encoded:
    """Frames of ``array``.

    Args:
        array: ``(structure, plane, row, column)``: masks, or one channel of encoded values as `LabelSchema.encode`
            gives; probabilities for ``"fractional"``.
        schema: Names of the structures.
        kind: ``"binary"`` and ``"fractional"`` leave out frames without foreground.

    Raises:
        LabelError: Channels or values do not fit the schema or the kind.
    """
    planes = MaskPlanes.of(array, schema, kind)
    if kind == "labelmap":
        frames = [(0, z) for z in range(planes.count)]
        return Encoded(frames, _compressed(planes.labels(z) for _, z in frames), "NO")
    frames = []
    found = _with_foreground(planes, frames)
    pixels = _compressed(found) if kind == "fractional" else _packed(found)
    return Encoded(frames, pixels, planes.overlap())


def _with_foreground(planes: MaskPlanes, frames: list[tuple[int, int]]) -> Iterator[NDArray[np.uint8]]:
    """Planes that have any, segment by segment; ``frames`` is told which they are."""
    for k in range(planes.structures):
        for z in range(planes.count):
            plane = planes.mask(k, z)
            if plane.any():
                frames.append((k + 1, z))
                yield plane
    if not frames:
        # an object has frames: where nothing was found, those of the first structure, which say what was looked at
        for z in range(planes.count):
            frames.append((1, z))
            yield planes.mask(0, z)


@dataclass(frozen=True)
class MaskPlanes:
    """Masks or a label map, checked and looked at plane by plane."""

    array: NDArray[Any]
    structures: int
    encoded: bool
    fractions: bool

    @staticmethod
    def of(array: NDArray[Any], schema: LabelSchema, kind: Kind) -> MaskPlanes:
        """Checked against ``schema``.

        Raises:
            LabelError: Type, channels or values do not fit it.
        """
        count, fractions = len(schema), kind == "fractional"
        if array.dtype.kind not in ("bf" if fractions else "bui"):
            needed = "probabilities (floating point)" if fractions else "boolean or whole numbers"
            hint = "use kind='binary'" if fractions else "threshold them first, or use kind='fractional'"
            raise LabelError(f"masks are {array.dtype}, {needed} are needed; {hint}")
        encoded = not fractions and len(array) == 1 and (count > 1 or schema.exclusive)
        if not encoded and len(array) != count:
            raise LabelError(
                f"masks have {len(array)} channels, the schema has {count} structures; give one a structure"
            )
        if encoded and not schema.exclusive:
            raise LabelError(
                f"one channel is given for {count} structures that may overlap; give one channel a structure"
            )
        return MaskPlanes(array, count, encoded, fractions)

    @property
    def count(self) -> int:
        """Planes of one structure."""
        return int(self.array.shape[1])

    def mask(self, k: int, z: int) -> NDArray[np.uint8]:
        """Plane ``z`` of structure ``k``: 0 or 1, or 0..255 for a fraction."""
        if self.fractions:
            return self._levels(self.array[k, z])
        if self.encoded:
            return _bits(self._checked(self.array[0, z], self.structures) == k + 1)
        return _bits(self._checked(self.array[k, z], 1) == 1)

    def labels(self, z: int) -> NDArray[np.uint8]:
        """Plane ``z`` as numbers of segments."""
        if self.encoded:
            plane = self._checked(self.array[0, z], self.structures)
            return np.where(plane == _IGNORE, 0, plane).astype(np.uint8)
        out = np.zeros(self.array.shape[2:], np.uint8)
        for k in range(self.structures):
            mask = self.mask(k, z)
            if np.logical_and(out, mask).any():
                raise LabelError("structures overlap, which a label map cannot hold; use kind='binary'")
            out += mask * np.uint8(k + 1)
        return out

    def overlap(self) -> str:
        """Whether a voxel is in two structures."""
        if self.structures == 1 or self.encoded:
            return "NO"
        if self.fractions:
            return "UNDEFINED"
        return "YES" if any(self._meet(z) for z in range(self.count)) else "NO"

    def _meet(self, z: int) -> bool:
        seen = np.zeros(self.array.shape[2:], np.uint8)
        for k in range(self.structures):
            mask = self.mask(k, z)
            if np.logical_and(seen, mask).any():
                return True
            seen |= mask
        return False

    @staticmethod
    def _checked(plane: NDArray[Any], allowed: int) -> NDArray[Any]:
        lowest, highest = int(plane.min()), int(plane.max())
        if lowest < 0 or (highest > allowed and ((plane > allowed) & (plane != _IGNORE)).any()):
            wrong = lowest if lowest < 0 else int(plane[(plane > allowed) & (plane != _IGNORE)].max())
            raise LabelError(
                f"masks hold the value {wrong}, at most {allowed} is expected; encode them with the schema"
            )
        return plane

    @staticmethod
    def _levels(plane: NDArray[Any]) -> NDArray[np.uint8]:
        lowest, highest = float(plane.min()), float(plane.max())
        if not -_SLACK <= lowest <= highest <= 1 + _SLACK:  # so that a NaN is refused too
            raise LabelError(f"probabilities go from {lowest:g} to {highest:g}; they must be from 0 to 1")
        levels: NDArray[np.float64] = np.clip(np.multiply(plane, LEVELS, dtype=np.float64), 0, LEVELS)
        return np.rint(levels).astype(np.uint8)


def _bits(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return mask.view(np.uint8)


def _packed(planes: Iterator[NDArray[np.uint8]]) -> bytes:
    """Planes of 0 and 1 as one stream of bits, lowest first (PS3.5 8.1.1)."""
    parts, rest = [], np.empty(0, np.uint8)
    for plane in planes:
        flat = np.concatenate([rest, plane.ravel()]) if len(rest) else plane.ravel()
        whole = len(flat) // 8 * 8
        parts.append(np.packbits(flat[:whole], bitorder="little").tobytes())
        rest = flat[whole:]
    parts.append(np.packbits(rest, bitorder="little").tobytes())
    data = b"".join(parts)
    return data + b"\0" * (len(data) % 2)


def _compressed(planes: Iterator[NDArray[np.uint8]]) -> bytes:
    """Planes as an encapsulated stream of RLE Lossless frames (PS3.5 A.4.2, G)."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders.base import get_encoder
    from pydicom.uid import RLELossless

    encoder = get_encoder(RLELossless)
    form: dict[str, Any] = {
        "samples_per_pixel": 1,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }
    frames = []
    for plane in planes:
        rows, columns = plane.shape
        frames.append(encoder.encode(plane.tobytes(), rows=rows, columns=columns, **form))
    return bytes(encapsulate(frames))
