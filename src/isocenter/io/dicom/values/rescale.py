"""From stored numbers to values: a slope and an intercept, or a table (PS3.3 C.11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from isocenter.errors import SeriesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["Linear", "Scale", "Table", "scale_of", "signed_as_pixels"]

_INT16 = np.iinfo(np.int16)
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


class Scale(Protocol):
    """Stored numbers to values."""

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole, so that int16 may hold them exactly."""
        ...

    def into_int16(self, stored: NDArray[Any], limits: tuple[int, int], out: NDArray[np.int16]) -> bool:
        """Write values where all fit; whether they do. ``stored`` lies in ``limits`` and may be ``out`` itself."""
        ...

    def into_float32(self, stored: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write values, computed in double and rounded once."""
        ...

    def value(self, stored: float) -> float:
        """Of one number."""
        ...


@dataclass(frozen=True)
class Linear:
    """Rescale Slope (0028,1053) and Intercept (0028,1052)."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def whole(self) -> bool:
        """See `Scale`."""
        return self.slope == 1 and self.intercept.is_integer() and abs(self.intercept) <= _INT16.max

    def into_int16(self, stored: NDArray[Any], limits: tuple[int, int], out: NDArray[np.int16]) -> bool:
        """See `Scale`."""
        if stored.dtype.kind == "f":
            return False
        intercept = int(self.intercept)
        low, high = limits
        if low + intercept < _INT16.min or high + intercept > _INT16.max:  # the bits allow it; do the numbers?
            low, high = int(stored.min()), int(stored.max())
            if low + intercept < _INT16.min or high + intercept > _INT16.max:
                return False
        # modulo 2**16 the sum is right whatever the sign of the stored type, and it was just seen to fit
        signed = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
        np.add(signed, np.int16(intercept), out=out)
        return True

    def into_float32(self, stored: NDArray[Any], out: NDArray[np.float32]) -> None:
        """See `Scale`."""
        if self.slope == 1 and self.intercept == 0:
            out[:] = stored
        else:
            values = stored.astype(np.float64)
            values *= self.slope
            values += self.intercept
            out[:] = values

    def value(self, stored: float) -> float:
        """See `Scale`."""
        return stored * self.slope + self.intercept


@dataclass(frozen=True, eq=False)
class Table:
    """The first item of Modality LUT Sequence (0028,3000); numbers beyond its ends have the values of the ends.

    Attributes:
        first: Stored number of the first entry.
        values: Entries.
    """

    first: int
    values: NDArray[np.uint16]

    @property
    def whole(self) -> bool:
        """See `Scale`."""
        return int(self.values.max()) <= _INT16.max

    def into_int16(self, stored: NDArray[Any], limits: tuple[int, int], out: NDArray[np.int16]) -> bool:
        """See `Scale`."""
        out[:] = self._of(stored)
        return True

    def into_float32(self, stored: NDArray[Any], out: NDArray[np.float32]) -> None:
        """See `Scale`."""
        out[:] = self._of(stored)

    def value(self, stored: float) -> float:
        """See `Scale`."""
        return float(self._of(np.array([int(stored)]))[0])

    def _of(self, stored: NDArray[Any]) -> NDArray[np.uint16]:
        return self.values[np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)]


def scale_of(header: Header) -> Scale:
    """What the header says; stored numbers are values where it says nothing.

    Raises:
        SeriesError: It says something that is no number or no table.
    """
    if "ModalityLUTSequence" in header:
        return _table_of(header)
    return Linear(header.number("RescaleSlope", 1.0), header.number("RescaleIntercept", 0.0))


def _table_of(header: Header) -> Table:
    items = header.tags["ModalityLUTSequence"]
    item = items[0] if isinstance(items, tuple) and items else {}
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if isinstance(descriptor, tuple) and len(descriptor) == 3 and all(isinstance(d, int) for d in descriptor):
        count = (descriptor[0] & 0xFFFF) or 1 << 16
        if isinstance(data, bytes):
            order = ">" if header.text("TransferSyntaxUID") == _BIG_ENDIAN else "<"
            width = 2 if len(data) >= 2 * count else 1
            data = np.frombuffer(data[: len(data) // width * width], f"{order}u{width}")
        values = np.asarray(data if data is not None else ()).reshape(-1)[:count]
        if len(values) == count and values.dtype.kind in "iu":
            return Table(signed_as_pixels(descriptor[1], header), values.astype(np.uint16))
    raise SeriesError(
        f"{header.file}: ModalityLUTSequence (0028,3000) holds no table of the length it states;"
        " export it with RescaleSlope"
    )


def signed_as_pixels(number: int, header: Header) -> int:
    """A number of 16 bits with the sign that pixels have, however it was read."""
    low = number & 0xFFFF
    return low - (1 << 16) if header.integer("PixelRepresentation", 0) == 1 and low > _INT16.max else low
