"""Which numbers of a case a network reads beside, or in place of, its images."""

from __future__ import annotations

from pydantic import Field, model_validator

from isocenter.plan.part import Part

__all__ = ["FeatureSpec", "MeasuredSpec", "QuantitySpec"]


class QuantitySpec(Part):
    """One number: a property of a structure, or an attribute of the case.

    Attributes:
        property: One of `isocenter.radiomics.PROPERTIES`.
        structure: Whose.
        image: On which image its mask lies, and whose values count; the reference where ``None``.
        attribute: Column of the table, in the place of the three above: a number.
        equals: Of an attribute that is no number: 1 where it has this value, else 0.

    Example:
        >>> QuantitySpec(property="volume_ml", structure="liver").image is None
        True
    """

    property: str | None = None
    structure: str | None = None
    image: str | None = None
    attribute: str | None = None
    equals: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> QuantitySpec:
        measured = self.property is not None and self.structure is not None
        if measured == (self.attribute is not None) or (self.equals is not None and self.attribute is None):
            raise ValueError("a quantity is a property of a structure, or an attribute of the case")
        return self


class FeatureSpec(Part):
    """A quantity, less another, over a third: ``(of - less) / over``.

    Ratios do not depend on a spacing that is only nominal; an ejection fraction is the volume at the end of diastole,
    less that at the end of systole, over the first.

    Attributes:
        name: For tables and explanations.
        of: See above.
        less: 0 where ``None``.
        over: 1 where ``None``.
        mean: Over training cases; what a network reads has it subtracted, and stands for what cannot be measured.
        std: Over training cases, by which it is divided.

    Example:
        >>> volume = QuantitySpec(property="volume_ml", structure="liver")
        >>> FeatureSpec(name="liver volume", of=volume, mean=1500, std=300).over is None
        True
    """

    name: str
    of: QuantitySpec
    less: QuantitySpec | None = None
    over: QuantitySpec | None = None
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)


class MeasuredSpec(Part):
    """Measured features of a case.

    Attributes:
        annotation: Set of annotations whose masks are measured: ``"main"`` or another of the table.
        features: In the order in which a network reads them.
    """

    annotation: str = "main"
    features: tuple[FeatureSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> MeasuredSpec:
        names = [f.name for f in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"names of features are not unique: {', '.join(names)}")
        return self
