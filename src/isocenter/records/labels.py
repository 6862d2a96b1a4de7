"""What is labelled: structures and the schema that ties them to the values of a label map."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["IGNORE", "Code", "LabelSchema", "Structure"]

IGNORE = 255
"""Marks voxels without annotation in encoded targets, whatever value the label map uses for them."""


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes:
        value: e.g. ``"39607008"``.
        scheme: Coding scheme designator, e.g. ``"SCT"`` (SNOMED CT), ``"DCM"``.
        meaning: Human-readable text, e.g. ``"Lung"``.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """One thing that is annotated: an organ, a lesion, a tissue, a kind of object.

    Attributes:
        name: Short name, unique in the schema; letters, digits, ``_`` and ``-``.
        values: Label values that belong to it. Several make a region: a whole tumour may be ``(1, 2, 3)``.
        code: Coded type for DICOM objects, where known.
        mirror: Name of the left/right partner; a flip across the midline must swap the two.
        colour: Display colour, red, green, blue in 0..255, where the source states one.

    Example:
        >>> Structure("lung_left", (1,), code=Code("44029006", "SCT", "Left lung"), mirror="lung_right").values
        (1,)
    """

    name: str
    values: tuple[int, ...]
    code: Code | None = None
    mirror: str | None = None
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class LabelSchema:
    """The structures of a dataset and how label values encode them.

    Attributes:
        structures: In the order of the network's outputs; the background is not one of them.
        exclusive: ``True``: a voxel belongs to one structure or to none (softmax). ``False``: structures may overlap
            (regions that share values, masks that overlap; sigmoid).
        ignore: Value of voxels that nobody annotated; excluded from every loss and measure.

    Raises:
        LabelError: Names or values that contradict each other.

    Example:
        >>> schema = LabelSchema.of({"lung_left": 1, "lung_right": 2})
        >>> schema["lung_left"].mirror
        'lung_right'
        >>> schema.encode(np.array([[0, 1, 2]])).tolist()
        [[[0, 1, 2]]]
    """

    structures: tuple[Structure, ...]
    exclusive: bool = True
    ignore: int | None = None

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names):
            raise LabelError(f"structure names are not unique: {', '.join(names)}")
        if len(names) >= IGNORE - 1:
            raise LabelError(f"{len(names)} structures declared, at most {IGNORE - 2} are supported in one schema")
        values = [v for s in self.structures for v in s.values]
        if self.exclusive and len(set(values)) != len(values):
            raise LabelError("two structures share a label value; declare the schema as exclusive=False (regions)")
        if 0 in values:
            name = next(s.name for s in self.structures if 0 in s.values)
            raise LabelError(f"structure {name!r} has the value 0, which is the background; give it another")
        if self.ignore is not None and self.ignore in values:
            raise LabelError(f"ignore value {self.ignore} is also the value of a structure")
        for structure in self.structures:
            if structure.mirror is not None and structure.mirror not in names:
                raise LabelError(f"mirror partner {structure.mirror!r} of {structure.name!r} is not in the schema")
            if structure.mirror is not None and self[structure.mirror].mirror != structure.name:
                raise LabelError(
                    f"{structure.mirror!r} is the mirror partner of {structure.name!r}, but not the reverse"
                )

    @staticmethod
    def of(
        labels: Mapping[str, int | Iterable[int]], *, exclusive: bool | None = None, ignore: int | None = None
    ) -> LabelSchema:
        """Schema from names and values, as ``dataset.json`` of nnU-Net has them.

        ``background`` is left out, ``ignore`` gives the ignore value, several values make a region, and
        ``left``/``right`` in names makes mirror partners.
        """
        found: dict[str, tuple[int, ...]] = {}
        for name, value in labels.items():
            numbers = tuple(int(v) for v in value) if isinstance(value, Iterable) else (int(value),)
            if name.lower() == "ignore":
                ignore = numbers[0] if ignore is None else ignore
            elif name.lower() != "background" and numbers != (0,):
                found[name] = numbers
        partners = {name: _mirror_name(name) for name in found}
        structures = tuple(
            Structure(name, values, mirror=partners[name] if partners[name] in found else None)
            for name, values in found.items()
        )
        flat = [v for values in found.values() for v in values]
        return LabelSchema(structures, len(set(flat)) == len(flat) if exclusive is None else exclusive, ignore)

    @property
    def names(self) -> tuple[str, ...]:
        """Structure names in order."""
        return tuple(s.name for s in self.structures)

    @property
    def values(self) -> frozenset[int]:
        """Every declared label value, without background and ignore."""
        return frozenset(v for s in self.structures for v in s.values)

    def __getitem__(self, name: str) -> Structure:
        for structure in self.structures:
            if structure.name == name:
                return structure
        raise LabelError(f"no structure {name!r} in the schema; it has {', '.join(self.names)}")

    def __len__(self) -> int:
        return len(self.structures)

    @cached_property
    def mirror_order(self) -> tuple[int, ...]:
        """Position of each structure's left/right partner (its own where it has none)."""
        return tuple(self.names.index(s.mirror) if s.mirror else i for i, s in enumerate(self.structures))

    def undeclared(self, label_map: NDArray[Any]) -> list[int | float]:
        """Label values that occur in ``label_map`` and that the schema does not declare.

        Example:
            >>> LabelSchema.of({"liver": 1}, ignore=9).undeclared(np.array([0, 1, 4, 9, 1.5]))
            [1.5, 4]
        """
        declared = {0, self.ignore, *self.values}
        found = [v.item() for v in np.unique(label_map) if v.item() not in declared]
        return [int(v) if float(v).is_integer() else v for v in found]

    def encode(self, label_map: NDArray[Any]) -> NDArray[np.uint8]:
        """Values of a label map as training targets.

        Args:
            label_map: Label values, any shape.

        Returns:
            uint8. Exclusive: shape ``(1, ...)``, 0 background, ``k`` the k-th structure. Otherwise ``(structure, ...)``
            of 0 and 1. Unannotated voxels are `IGNORE` (255) in both.

        Raises:
            LabelError: A value that the schema does not declare.
        """
        unknown = self.undeclared(label_map)
        if unknown:
            declared = ", ".join(str(v) for v in sorted(self.values))
            raise LabelError(f"label value {unknown[0]} is not declared (declared: 0, {declared}); mend file or schema")
        if self.exclusive:
            out = np.zeros((1, *label_map.shape), np.uint8)
            for k, structure in enumerate(self.structures, start=1):
                out[0][np.isin(label_map, structure.values)] = k
        else:
            out = np.stack([np.isin(label_map, s.values) for s in self.structures]).astype(np.uint8)
        if self.ignore is not None:
            out[:, label_map == self.ignore] = IGNORE
        return out

    def masks(self, encoded: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """One boolean mask a structure, ``(structure, ...)``, from what `encode` (or a decoder) gives.

        Example:
            >>> schema = LabelSchema.of({"whole": (1, 2), "core": 2})
            >>> schema.masks(schema.encode(np.array([0, 1, 2]))).tolist()
            [[False, True, True], [False, False, True]]
        """
        if not self.exclusive:
            return np.asarray(encoded == 1)
        return np.stack([encoded[0] == k for k in range(1, len(self) + 1)])


def _mirror_name(name: str) -> str | None:
    # the chambers of the heart are called left and right and are not mirror images of each other
    if re.search("ventricle|atri|coronary", name, re.IGNORECASE) and not re.search(
        "lateral|cereb", name, re.IGNORECASE
    ):
        return None
    for a, b in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if a in name:
            return name.replace(a, b)
        if b in name:
            return name.replace(b, a)
    return None
