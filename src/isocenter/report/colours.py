"""Colours of structures and classes: apart from each other on grey, also for most colour-blind eyes."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isocenter.records import LabelSchema

__all__ = ["RGB", "colours_of", "hex_of"]

RGB = tuple[int, int, int]

_APART = 60  # Euclidean, of 0..255; nearer ones look alike over grey
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


def colours_of(schema: LabelSchema, *, before: int = 0) -> tuple[RGB, ...]:
    """A colour for each structure: as the source states them, where all are stated and apart, else of the palette.

    Args:
        schema: The structures.
        before: How many colours of the palette other structures of the same picture have taken.
    """
    stated = [s.colour for s in schema.structures if s.colour is not None]
    near = any(
        sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) < _APART**2 for one, two in combinations(stated, 2)
    )
    if len(stated) == len(schema) and not near:
        return tuple(stated)
    return tuple(_PALETTE[(before + k) % len(_PALETTE)] for k in range(len(schema)))


def hex_of(colour: RGB) -> str:
    """As a style sheet writes it.

    Example:
        >>> hex_of((255, 0, 16))
        '#ff0010'
    """
    return "#" + "".join(f"{min(max(int(v), 0), 255):02x}" for v in colour)
