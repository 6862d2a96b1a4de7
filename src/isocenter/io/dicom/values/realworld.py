"""Maps from stored pixels to real-world values with a unit (PS3.3 C.7.6.16.2.11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import SeriesError
from isocenter.io.dicom.values import read_stored
from isocenter.io.dicom.values.rescale import signed_as_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["RealWorldMap", "choose_map", "real_world_maps", "real_world_values"]

_ENDS = (
    ("RealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueFirstValueMapped"),
    ("RealWorldValueLastValueMapped", "DoubleFloatRealWorldValueLastValueMapped"),
)


@dataclass(frozen=True, eq=False)
class RealWorldMap:
    """One item of Real World Value Mapping Sequence (0040,9096).

    Attributes:
        label: LUT Label (0040,9210), which tells it from others.
        unit: UCUM code, e.g. ``"mm2/s"``.
        meaning: Of the unit, or of the map, in words.
        first: Least stored value that it maps.
        last: Greatest.
        slope: Of a linear map.
        intercept: Likewise.
        table: Values of ``first`` to ``last`` where it is not linear.

    Example:
        >>> RealWorldMap("ADC", "mm2/s", "", 0, 4095, slope=1e-6).apply(np.array([0, 1500, 5000]))
        array([0.    , 0.0015,    nan])
    """

    label: str
    unit: str
    meaning: str
    first: float
    last: float
    slope: float = 1.0
    intercept: float = 0.0
    table: NDArray[np.float64] | None = field(default=None, repr=False)

    def apply(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Real-world values of `stored_pixels`; NaN where it maps none."""
        inside = (stored >= self.first) & (stored <= self.last)
        if self.table is None:
            return np.where(inside, stored.astype(np.float64) * self.slope + self.intercept, np.nan)
        index = np.where(inside, stored.astype(np.float64) - self.first, 0).astype(np.int64)
        return np.where(inside, self.table[index], np.nan)


def real_world_maps(header: Header) -> tuple[RealWorldMap, ...]:
    """The maps that a file or frame states; none where it states none.

    Raises:
        SeriesError: One of them is incomplete.
    """
    items = header.tags.get("RealWorldValueMappingSequence", ())
    items = items if isinstance(items, tuple) else ()
    return tuple(_map_of(header, item) for item in items)


def choose_map(header: Header, *, label: str = "", unit: str = "") -> RealWorldMap:
    """The only map, or the only one of that label and unit.

    Raises:
        SeriesError: There is none, or there are several.
    """
    every = real_world_maps(header)
    fitting = [m for m in every if label in ("", m.label) and unit in ("", m.unit)]
    if len(fitting) != 1:
        named = ", ".join(f"{m.label or 'without label'} ({m.unit or 'without unit'})" for m in every[:8]) or "none"
        asked = " and ".join(f"{name} {value!r}" for name, value in (("label", label), ("unit", unit)) if value)
        raise SeriesError(
            f"{header.file}: RealWorldValueMappingSequence (0040,9096) has {len(fitting)} maps"
            f"{' with ' + asked if asked else ''}; choose one by label or unit, there are: {named}"
        )
    return fitting[0]


def real_world_values(headers: Sequence[Header], *, label: str = "", unit: str = "") -> NDArray[np.float32]:
    """Real-world values of slices, ``(slice, row, column)``, each by its own map; NaN where a map says nothing.

    Args:
        headers: One a slice, all of one size.
        label: Of the map; needed where there are several.
        unit: Likewise.

    Raises:
        SeriesError: See `choose_map`; or the unit varies from slice to slice.
        FileFormatError: Pixels are absent, truncated or damaged.
    """
    maps = [choose_map(header, label=label, unit=unit) for header in headers]
    units = sorted({m.unit for m in maps})
    if len(units) != 1:
        where = headers[0].file if headers else "no files"
        raise SeriesError(f"{where}: real-world values have the units {', '.join(units)} in one series; choose one")
    stored = read_stored(headers)
    return np.stack([m.apply(pixels).astype(np.float32) for m, pixels in zip(maps, stored, strict=True)])


def _map_of(header: Header, item: Mapping[str, Any]) -> RealWorldMap:
    first, last = (_end(header, item, *names) for names in _ENDS)
    table = item.get("RealWorldValueLUTData")
    slope, intercept = _number(item, "RealWorldValueSlope"), _number(item, "RealWorldValueIntercept")
    texts = {name: str(item.get(name, "")) for name in ("LUTLabel", "LUTExplanation")}
    units = item.get("MeasurementUnitsCodeSequence", ())
    code = units[0] if isinstance(units, tuple) and units else {}
    unit, meaning = (str(code.get(name, "")) for name in ("CodeValue", "CodeMeaning"))
    known = texts["LUTLabel"], unit, texts["LUTExplanation"] or meaning, first, last
    if table is not None:
        values = np.asarray(table, np.float64).reshape(-1)
        if len(values) == last - first + 1 and float(first).is_integer():
            return RealWorldMap(*known, table=values)
    elif slope is not None and intercept is not None:
        return RealWorldMap(*known, slope=slope, intercept=intercept)
    raise SeriesError(
        f"{header.file}: an item of RealWorldValueMappingSequence (0040,9096) has neither slope and intercept nor a"
        " table as long as its range; export it again"
    )


def _end(header: Header, item: Mapping[str, Any], whole: str, double: str) -> float:
    value = _number(item, whole)
    if value is not None:
        # elements of two bytes: with the sign of the pixels, however they were read
        return signed_as_pixels(int(value), header)
    value = _number(item, double)
    if value is None:
        raise SeriesError(
            f"{header.file}: an item of RealWorldValueMappingSequence (0040,9096) does not state which stored values it"
            " maps; export it again"
        )
    return value


def _number(item: Mapping[str, Any], keyword: str) -> float | None:
    value = item.get(keyword)
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None
