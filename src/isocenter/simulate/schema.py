"""What the phantom labels, with codes."""

from __future__ import annotations

from collections.abc import Sequence

from isocenter.errors import LabelError
from isocenter.records import Code, LabelSchema, Structure

__all__ = ["STRUCTURES", "thorax_schema"]

# SNOMED CT (as DICOM PS3.16 uses it); colours as viewers commonly show them
_KNOWN: dict[str, tuple[str, str, str | None, tuple[int, int, int]]] = {
    "lung_left": ("44029006", "Left lung", "lung_right", (172, 138, 115)),
    "lung_right": ("3341006", "Right lung", "lung_left", (197, 165, 145)),
    "heart": ("80891009", "Heart", None, (206, 110, 84)),
    "liver": ("10200004", "Liver", None, (221, 130, 101)),
    "spine": ("421060004", "Vertebral column", None, (226, 202, 134)),
    "ribs": ("113197003", "Rib", None, (253, 232, 158)),
    "airways": ("110726009", "Trachea and bronchus", None, (182, 228, 255)),
    "nodule": ("27925004", "Nodule", None, (255, 80, 80)),
}

STRUCTURES: tuple[str, ...] = tuple(_KNOWN)
"""Names of everything that the phantom can label, in order."""


def thorax_schema(structures: Sequence[str] | None = None) -> LabelSchema:
    """Schema of the label maps of simulated thoraces.

    Args:
        structures: Names to keep, any order; ``None`` keeps all. Values count from 1 in the order of `STRUCTURES`.

    Raises:
        LabelError: An unknown name, or none at all.

    Example:
        >>> thorax_schema(["heart", "lung_left"]).names
        ('lung_left', 'heart')
    """
    chosen = STRUCTURES if structures is None else tuple(structures)
    for name in chosen:
        if name not in _KNOWN:
            raise LabelError(f"the simulated thorax has no structure {name!r}; it has {', '.join(STRUCTURES)}")
    kept = [name for name in STRUCTURES if name in chosen]
    if not kept:
        raise LabelError(f"no structure chosen; choose from {', '.join(STRUCTURES)}")
    return LabelSchema(
        tuple(
            Structure(name, (value,), Code(code, "SCT", meaning), mirror if mirror in kept else None, colour)
            for value, name in enumerate(kept, start=1)
            for code, meaning, mirror, colour in [_KNOWN[name]]
        )
    )
