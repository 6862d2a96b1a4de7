"""What somebody, or something, said about an image. Pure data; heavy parts are read on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from isocenter.records.labels import LabelSchema
    from isocenter.volume import Volume

__all__ = ["Annotation", "Boxes", "ClassLabel", "LabelMap", "Masks", "Points", "Scalar"]


@dataclass(frozen=True, kw_only=True)
class _Annotated:
    """What every annotation states.

    Attributes:
        name: Which set of annotations this is; ``"main"`` unless the dataset has several (``"scribble"``).
        image: Name of the image whose grid it lies on; ``None`` where it concerns the whole case.
        source: Where it came from: a file path, ``"simulated"``, ``"model <name>"``.
    """

    name: str = "main"
    image: str | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelMap(_Annotated):
    """One integer a voxel. ``read()`` gives a one-channel Volume of unit ``"label"``, values as in ``schema``."""

    schema: LabelSchema
    read: Callable[[], Volume]


@dataclass(frozen=True, kw_only=True)
class Masks(_Annotated):
    """One boolean mask a structure; they may overlap. ``read()`` gives a ``(structure, slice, row, column)`` Volume."""

    schema: LabelSchema
    read: Callable[[], Volume]


@dataclass(frozen=True, kw_only=True)
class Boxes(_Annotated):
    """Axis-aligned boxes in index space of ``image``.

    Attributes:
        schema: Classes of the boxes.
        corners: ``(n, 6)`` float: ``z0, y0, x0, z1, y1, x1`` in voxel indices, edges of voxels (index - 0.5 is the
            near edge of voxel ``index``), low corner first.
        classes: ``(n,)`` position of the class in ``schema.structures``.
        scores: ``(n,)`` probabilities in 0..1 of a prediction; ``None`` for truth.
        instances: Reads a label map with value ``i + 1`` on the voxels of box ``i``, where there is one: boxes under
            rotation are then taken from the rotated masks.

    Example:
        >>> import numpy as np
        >>> from isocenter.records import LabelSchema
        >>> corners = np.array([[3.5, 9.5, 9.5, 6.5, 14.5, 12.5]])  # voxels 4..6, 10..14, 10..12
        >>> boxes = Boxes(schema=LabelSchema.of({"nodule": 1}), corners=corners, classes=np.array([0]))
        >>> (boxes.corners[:, 3:] - boxes.corners[:, :3]).tolist()
        [[3.0, 5.0, 3.0]]
    """

    schema: LabelSchema
    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None
    instances: Callable[[], Volume] | None = None


@dataclass(frozen=True, kw_only=True)
class Points(_Annotated):
    """Named points, ``(n, 3)`` LPS millimetres, with the class of each as in `Boxes`."""

    schema: LabelSchema
    positions_mm: NDArray[np.float64]
    classes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ClassLabel(_Annotated):
    """Which of ``classes`` the case belongs to. Several ``values`` only where the classes are not exclusive.

    Attributes:
        classes: Every class of this question, in a fixed order.
        values: Those that hold.
        exclusive: Exactly one holds.
        probabilities: Of each class, for a prediction.
    """

    classes: tuple[str, ...]
    values: tuple[str, ...]
    exclusive: bool = True
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Scalar(_Annotated):
    """A number that belongs to the case, with its UCUM unit (``"mL"``, ``"1"``)."""

    value: float
    unit: str = "1"
    interval: tuple[float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


Annotation = LabelMap | Masks | Boxes | Points | ClassLabel | Scalar
