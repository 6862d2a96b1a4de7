"""Colours of structures and classes: apart from each other on grey, also for most colour-blind eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isocenter.records import Structure

__all__ = ["RGB", "colour_of", "hex_of"]

RGB = tuple[int, int, int]

_PALETTE: tuple[RGB, ...] = (
    (86, 180, 233),  # sky
    (240, 160, 48),  # orange
    (60, 200, 150),  # green
    (255, 112, 128),  # coral
    (180, 150, 255),  # violet
    (240, 228, 90),  # yellow
    (245, 140, 205),  # pink
    (150, 205, 90),  # lime
    (110, 140, 255),  # blue
    (214, 160, 110),  # tan
)


def colour_of(structure: Structure, number: int) -> RGB:
    """The colour its source states, else the one of the palette for the ``number``-th structure."""
    return structure.colour or _PALETTE[number % len(_PALETTE)]


def hex_of(colour: RGB) -> str:
    """As a style sheet writes it.

    Example:
        >>> hex_of((255, 0, 16))
        '#ff0010'
    """
    return "#" + "".join(f"{min(max(int(v), 0), 255):02x}" for v in colour)
