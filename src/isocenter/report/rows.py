"""Rows of the table of findings: numbers as a person reads them, and a key image each."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.report.codes import MEASURES, UNITS, words
from isocenter.report.colours import RGB
from isocenter.report.keyimage import Place, key_image, place_of_part
from isocenter.report.parts import parts_of
from isocenter.report.scene import base_image
from isocenter.report.tones import tones_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isocenter.records import Finding, Measurement, Prediction
    from isocenter.report.parts import Layer
    from isocenter.report.scene import Scene
    from isocenter.volume import Volume

__all__ = ["Column", "columns_of", "number", "percent", "rows_of"]

_SPACE = "\u202f"  # narrow, does not break
_GROUPS = {"center": "Position", "size": "Size"}
MOST_PICTURES = 100


@dataclass(frozen=True)
class Column:
    """A column of the table: ``name`` of a measurement, or of three along x, y and z."""

    name: str
    title: str


def columns_of(findings: Sequence[Finding]) -> list[Column]:
    """Columns in the order in which measurements first occur; probability first."""
    columns = {"probability": Column("probability", "Probability")}
    if all(f.probability is None for f in findings):
        columns.clear()
    for name in (m.name for f in findings for m in f.measurements):
        group = name.rpartition("_")[0] if name[-2:] in ("_x", "_y", "_z") else ""
        if group in _GROUPS:
            columns[group] = Column(group, _GROUPS[group])
        else:
            title = MEASURES[name].title if name in MEASURES else words(name)
            columns[name] = Column(name, title)
    return list(columns.values())


def rows_of(
    findings: Sequence[Finding],
    columns: Sequence[Column],
    *,
    prediction: Prediction,
    images: Mapping[str, Volume],
    layers: Sequence[Layer],
    scene: Scene | None,
) -> list[dict[str, Any]]:
    """One row a finding, in their order. Beyond the first `MOST_PICTURES` they have no key image."""
    name = base_image(prediction, images)
    shown = [*scene.meta["structures"], *scene.meta["boxes"]] if scene is not None else []
    colours = {item["name"]: item["colour"] for item in shown}
    places = _places(layers, colours, scene)
    tones = tones_of(images[name]) if name is not None else None
    rows: list[dict[str, Any]] = []
    for finding in findings:
        place = _place_of(finding, places, colours)
        row: dict[str, Any] = {
            "name": words(finding.name),
            "code": f"{finding.code.meaning}, {finding.code.scheme} {finding.code.value}" if finding.code else "",
            "colour": colours.get(words(finding.name), ""),
            "empty": any(m.name == "volume" and m.value == 0 for m in finding.measurements),
            "cells": [_cell(finding, column.name) for column in columns],
            "picture": "",
            "jump": "",
        }
        if place is not None and scene is not None and name is not None and tones is not None:
            index = np.rint(scene.grid.to_index(place.center_mm)).astype(int)
            row["jump"] = ",".join(str(i) for i in np.clip(index, 0, np.asarray(scene.grid.shape) - 1))
            if len(rows) < MOST_PICTURES:
                data = key_image(images[name], place, scene.planes[0], scene.grid, tones)
                row["picture"] = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
        rows.append(row)
    return rows


def _places(layers: Sequence[Layer], colours: Mapping[str, str], scene: Scene | None) -> dict[str, Place]:
    """Where each structure is, by its name."""
    if scene is None:
        return {}
    found: dict[str, Place] = {}
    for layer in layers:
        for part in parts_of(layer):
            colour = _colour(part.structure.name, colours)
            place = place_of_part(part, colour, scene.planes[0], scene.grid)
            if place is not None:
                found.setdefault(part.structure.name, place)
    return found


def _place_of(finding: Finding, places: Mapping[str, Place], colours: Mapping[str, str]) -> Place | None:
    values = {m.name: m.value for m in finding.measurements}
    if {"center_x", "center_y", "center_z"} <= values.keys():
        center = np.array([values[f"center_{axis}"] for axis in "xyz"])
        extent = np.array([values.get(f"size_{axis}", 0.0) for axis in "xyz"])
        return Place(center, center, extent, _colour(finding.name, colours))
    return places.get(finding.name)


def _colour(name: str, colours: Mapping[str, str]) -> RGB:
    text = colours.get(words(name), "#ffffff")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _cell(finding: Finding, column: str) -> dict[str, str]:
    if column == "probability":
        return {"value": "" if finding.probability is None else percent(finding.probability), "interval": ""}
    found = {m.name: m for m in finding.measurements}
    three = [found[f"{column}_{axis}"].value for axis in "xyz" if f"{column}_{axis}" in found]
    if column in _GROUPS:
        return {"value": _along(column, three) if len(three) == 3 else "", "interval": ""}
    if column not in found:
        return {"value": "", "interval": ""}
    return _written(found[column])


def _written(measurement: Measurement) -> dict[str, str]:
    unit = UNITS.get(measurement.unit, ("", measurement.unit))[1]
    after = f"{_SPACE}{unit}" if unit else ""
    ends = measurement.interval or ()
    value, *interval = (number(round(v) if unit == "HU" else v) for v in (measurement.value, *ends))
    return {"value": value + after, "interval": " to ".join(interval) + after if interval else ""}


def _along(group: str, values: Sequence[float]) -> str:
    if group == "size":
        return " × ".join(f"{v:.1f}" for v in values) + f"{_SPACE}mm"
    sides = zip(("LR", "PA", "SI"), values, strict=True)
    return " · ".join(f"{letters[int(v < 0)]}{_SPACE}{abs(v):.0f}" for letters, v in sides) + f"{_SPACE}mm"


def number(value: float) -> str:
    """Three digits that count, thousands apart, a true minus.

    Example:
        >>> number(1523.4), number(0.26834), number(-712.3), number(3)
        ('1,523', '0.268', '−712', '3')
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if float(value).is_integer() or size >= 100:
        text = f"{value:,.0f}"
    elif size >= 0.001:
        text = f"{value:.{2 - math.floor(math.log10(size))}f}"
    else:
        text = f"{value:.2g}"
    return text.replace("-", "\u2212")


def percent(probability: float) -> str:
    """A probability without false certainty: never 0 % or 100 % by rounding.

    Example:
        >>> percent(0.834), percent(0.99996)
        ('83\u202f%', '>99.9\u202f%')
    """
    if not math.isfinite(probability):
        return "–"
    value = 100 * probability
    if 0 < value < 0.1:
        return f"<0.1{_SPACE}%"
    if 99.9 < value < 100:
        return f">99.9{_SPACE}%"
    return f"{value:.{0 if 1 <= value <= 99 or value in (0, 100) else 1}f}{_SPACE}%"
