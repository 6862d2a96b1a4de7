"""What a model says about a case, with its doubt and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from isocenter.records.annotations import Annotation
    from isocenter.records.case import Case
    from isocenter.volume import Volume

__all__ = ["Flag", "Prediction", "Provenance"]


@dataclass(frozen=True)
class Flag:
    """Something a reader of the result must know.

    Attributes:
        code: Stable short name, e.g. ``"image-resampled"``, ``"structure-empty"``.
        text: One sentence for a person.
        level: ``"note"`` or ``"review"`` (a person should look before using the result).
    """

    code: str
    text: str
    level: Literal["note", "review"] = "note"


@dataclass(frozen=True)
class Provenance:
    """Which model made a prediction, and how.

    Attributes:
        model: Name of the model.
        version: Version of Isocenter that ran.
        digest: SHA-256 of the model's manifest.
        settings: Anything else that changes the answer: precision, overlap, test-time augmentation.
    """

    model: str
    version: str
    digest: str
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """What a model says about a case.

    Attributes:
        case: The case it speaks of.
        annotations: Label maps, boxes, classes on the case's own grids.
        maps: Volumes by name: uncertainty, probability of chosen classes.
        flags: What a reader must know.
        provenance: Which model, and how.

    Example:
        >>> from isocenter.records import Case, ClassLabel
        >>> label = ClassLabel(name="kind", classes=("cyst", "tumour"), values=("cyst",), probabilities=(0.9, 0.1))
        >>> doubt = Flag("calibration-missing", "Probabilities were not calibrated.", "review")
        >>> Prediction(Case("a", "p", {}), (label,), flags=(doubt,)).flags[0].level
        'review'
    """

    case: Case
    annotations: tuple[Annotation, ...]
    maps: Mapping[str, Volume] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    provenance: Provenance | None = None
