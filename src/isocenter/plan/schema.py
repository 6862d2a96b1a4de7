"""`Plan`: every decision between a case and a result, as typed data.

One plan is read by training, evaluation, prediction and export alike. On disk it is YAML; a person may edit any value.
Keys that do not exist are errors that name the nearest one that does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from isocenter.errors import LabelError
from isocenter.plan.budget import BudgetSpec
from isocenter.plan.learning import InferenceSpec, TrainingSpec
from isocenter.plan.measured import MeasuredSpec
from isocenter.plan.part import Part
from isocenter.records import Code, LabelSchema, Structure

__all__ = [
    "SCHEMA_VERSION",
    "InputSpec",
    "IntensitySpec",
    "NetworkSpec",
    "Plan",
    "PreprocessSpec",
    "StructureSpec",
    "TaskSpec",
]

SCHEMA_VERSION: Literal[1] = 1


class InputSpec(Part):
    """An image, or a row of numbers, that the network reads.

    Attributes:
        name: Its name in the cases.
        modality: DICOM modality, e.g. ``"CT"``.
        channels: Channels it has; of a vector: its numbers.
        required: ``False``: a case may lack it; the network is told by ``present``.
        kind: ``"image"``, or ``"vector"``: numbers that belong to the case as a whole, such as measurements.

    Example:
        >>> InputSpec(name="pet", modality="PT", required=False).channels
        1
    """

    name: str
    modality: str = "OT"
    channels: int = Field(default=1, ge=1)
    required: bool = True
    kind: Literal["image", "vector"] = "image"


class IntensitySpec(Part):
    """How values become network inputs.

    Attributes:
        scheme: ``"fixed"``: clip to ``lower``..``upper``, subtract ``mean``, divide by ``std``, all from the training
            set (CT, whose values are absolute). ``"image"``: clip to the image's own 0.5 and 99.5 percentiles, then
            zero mean and unit deviation over the image (MR, whose values are arbitrary). ``"none"``: as they are.
        lower: Low clip of ``"fixed"``, in the image's unit.
        upper: High clip of ``"fixed"``.
        mean: Of the training set's annotated voxels.
        std: Likewise.
    """

    scheme: Literal["fixed", "image", "none"] = "image"
    lower: float | None = None
    upper: float | None = None
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _clip_holds(self) -> IntensitySpec:
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower:g} is above upper {self.upper:g}")
        return self


class PreprocessSpec(Part):
    """How a case comes onto the working grid.

    Attributes:
        reference: Image whose grid the working grid follows and the result is given on.
        orientation: Patient directions of slice, row and column index, e.g. ``"SPL"``; ``None`` keeps the stored order.
        spacing_mm: Working spacing (slice, row, column); ``None`` keeps each image's own. An axis of 0 keeps its own.
        interpolation: Of images (cubic: Catmull-Rom); labels take the structure with the largest interpolated share.
        intensity: By input name.
    """

    reference: str
    orientation: str | None = None
    spacing_mm: (
        tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None
    ) = None
    interpolation: Literal["linear", "cubic"] = "linear"
    intensity: dict[str, IntensitySpec] = Field(default_factory=dict)


class NetworkSpec(Part):
    """Which network, by registered name, and its options (checked by the network itself)."""

    name: str = "unet"
    dimensions: Literal[2, 3] = 3
    options: dict[str, Any] = Field(default_factory=dict)


class StructureSpec(Part):
    """A structure of the schema; see `isocenter.Structure`."""

    name: str
    values: tuple[int, ...]
    mirror: str | None = None
    code: tuple[str, str, str] | None = None
    colour: tuple[int, int, int] | None = None


class TaskSpec(Part):
    """What is learned.

    Attributes:
        name: Registered task: ``"segmentation"``, ``"detection"``, ``"classification"``.
        annotation: Name of the set of annotations that is the truth.
        structures: Classes of voxels or boxes.
        exclusive: See `isocenter.LabelSchema`.
        ignore: See `isocenter.LabelSchema`.
        target: Question of a classification (``class.<target>`` in tables).
        classes: Its answers.
        options: Of the task itself, e.g. loss weights.

    Example:
        >>> liver = StructureSpec(name="liver", values=(1,), code=("10200004", "SCT", "Liver"))
        >>> TaskSpec(structures=(liver,)).schema_["liver"].code.meaning
        'Liver'
    """

    name: str = "segmentation"
    annotation: str = "main"
    structures: tuple[StructureSpec, ...] = ()
    exclusive: bool = True
    ignore: int | None = None
    target: str | None = None
    classes: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def schema_(self) -> LabelSchema:
        """The structures as a `LabelSchema`."""
        return LabelSchema(
            tuple(
                Structure(s.name, s.values, Code(*s.code) if s.code else None, s.mirror, s.colour)
                for s in self.structures
            ),
            self.exclusive,
            self.ignore,
        )

    @model_validator(mode="after")
    def _schema_holds(self) -> TaskSpec:
        try:
            _ = self.schema_
        except LabelError as error:
            raise ValueError(str(error)) from None
        return self

    @staticmethod
    def structures_of(schema: LabelSchema) -> tuple[StructureSpec, ...]:
        """The structures of ``schema`` as plan data."""
        return tuple(
            StructureSpec(
                name=s.name,
                values=s.values,
                mirror=s.mirror,
                code=(s.code.value, s.code.scheme, s.code.meaning) if s.code else None,
                colour=s.colour,
            )
            for s in schema.structures
        )


class Plan(Part):
    """Every decision, with its reason.

    Attributes:
        schema_version: Of this file's form.
        name: Of the model to be.
        inputs: Images that the network reads.
        preprocess: Onto the working grid.
        measured: Numbers of the case, which the vector input ``"measured"`` holds.
        network: Features.
        task: Decision.
        training: How it learns.
        inference: How a whole case is predicted and cleaned.
        budget: What the fit may take, where one was stated; the steps were chosen for it.
        reasons: By dotted key: why the planner decided so.

    Example:
        >>> from isocenter.plan.schema import InputSpec, Plan, PreprocessSpec
        >>> plan = Plan(name="demo", inputs=(InputSpec(name="ct"),), preprocess=PreprocessSpec(reference="ct"))
        >>> plan.training.steps
        1000
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = "model"
    inputs: tuple[InputSpec, ...]
    preprocess: PreprocessSpec
    measured: MeasuredSpec | None = None
    network: NetworkSpec = NetworkSpec()
    task: TaskSpec = TaskSpec()
    training: TrainingSpec = TrainingSpec()
    inference: InferenceSpec = InferenceSpec()
    budget: BudgetSpec | None = None
    reasons: dict[str, str] = Field(default_factory=dict)

    @property
    def images(self) -> tuple[InputSpec, ...]:
        """The inputs that are images."""
        return tuple(i for i in self.inputs if i.kind == "image")

    @model_validator(mode="after")
    def _parts_fit(self) -> Plan:
        names = [i.name for i in self.inputs]
        if not any(i.kind == "image" for i in self.inputs):
            raise ValueError("inputs: a plan needs at least one image")
        if len(set(names)) != len(names):
            raise ValueError(f"inputs: names are not unique: {', '.join(names)}")
        images = [i.name for i in self.images]
        if self.preprocess.reference not in images:
            raise ValueError(
                f"preprocess.reference: {self.preprocess.reference!r} is not an image of the inputs"
                f" ({', '.join(images)})"
            )
        vectors = [(i.name, i.channels) for i in self.inputs if i.kind == "vector"]
        wanted = [("measured", len(self.measured.features))] if self.measured is not None else []
        if vectors != wanted:
            raise ValueError(f"inputs: vectors are {vectors}, but `measured` gives {wanted} (name, numbers)")
        unknown = set(self.preprocess.intensity) - set(names)
        if unknown:
            raise ValueError(f"preprocess.intensity: {sorted(unknown)[0]!r} is not an input ({', '.join(names)})")
        if self.network.dimensions == 2 and (self.training.patch[0] != 1 or self.inference.window[0] != 1):
            raise ValueError("network.dimensions is 2: training.patch and inference.window must be one slice thick")
        strangers = set(self.inference.largest_component) - {s.name for s in self.task.structures}
        if strangers:
            raise ValueError(f"inference.largest_component: no structure {sorted(strangers)[0]!r}")
        return self
