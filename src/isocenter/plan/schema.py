"""`Plan`: every decision between a case and a result, as typed data.

One plan is read by training, evaluation, prediction and export alike. On disk it is YAML; a person may edit any value.
Keys that do not exist are errors that name the nearest one that does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isocenter.errors import LabelError
from isocenter.records import Code, LabelSchema, Structure

__all__ = [
    "SCHEMA_VERSION",
    "AugmentationSpec",
    "InferenceSpec",
    "InputSpec",
    "IntensitySpec",
    "NetworkSpec",
    "Plan",
    "PreprocessSpec",
    "StructureSpec",
    "TaskSpec",
    "TrainingSpec",
]

SCHEMA_VERSION: Literal[1] = 1

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Millimetres = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class InputSpec(_Part):
    """An image that the network reads.

    Attributes:
        name: Its name in the cases.
        modality: DICOM modality, e.g. ``"CT"``.
        channels: Channels it has.
        required: ``False``: a case may lack it; the network is told by ``present``.
    """

    name: str
    modality: str = "OT"
    channels: int = Field(default=1, ge=1)
    required: bool = True


class IntensitySpec(_Part):
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


class PreprocessSpec(_Part):
    """How a case comes onto the working grid.

    Attributes:
        reference: Image whose grid the working grid follows and the result is given on.
        orientation: Patient directions of slice, row and column index, e.g. ``"SPL"``; ``None`` keeps the stored order.
        spacing_mm: Working spacing (slice, row, column); ``None`` keeps each image's own. An axis of 0 keeps its own.
        interpolation: Of images; labels take the structure with the largest interpolated share.
        intensity: By input name.
    """

    reference: str
    orientation: str | None = None
    spacing_mm: (
        tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None
    ) = None
    interpolation: Literal["linear", "cubic"] = "linear"
    intensity: dict[str, IntensitySpec] = {}


class NetworkSpec(_Part):
    """Which network, by registered name, and its options (checked by the network itself)."""

    name: str = "unet"
    dimensions: Literal[2, 3] = 3
    options: dict[str, Any] = {}


class StructureSpec(_Part):
    """A structure of the schema; see `isocenter.Structure`."""

    name: str
    values: tuple[int, ...]
    mirror: str | None = None
    code: tuple[str, str, str] | None = None
    colour: tuple[int, int, int] | None = None


class TaskSpec(_Part):
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
    """

    name: str = "segmentation"
    annotation: str = "main"
    structures: tuple[StructureSpec, ...] = ()
    exclusive: bool = True
    ignore: int | None = None
    target: str | None = None
    classes: tuple[str, ...] = ()
    options: dict[str, Any] = {}

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


class AugmentationSpec(_Part):
    """Random changes of training patches; ranges are half-widths, probabilities per patch.

    Attributes:
        rotation_deg: About slice, row and column axis.
        scale: Relative, e.g. 0.15 for 0.85 to 1.15.
        mirror: Axes (0 slice, 1 row, 2 column) that may be flipped; left/right structures swap with them.
        spatial_probability: Of rotation and scale.
        brightness: In standard deviations of the normalised image.
        contrast: Relative.
        gamma: Of the logarithm of the exponent.
        noise: Largest standard deviation, in those of the normalised image.
        blur: Largest sigma in voxels.
        low_resolution: Largest factor by which the patch is coarsened and brought back.
        intensity_probability: Of each of the intensity changes.
    """

    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = Field(default=0.0, ge=0, lt=1)
    mirror: tuple[Literal[0, 1, 2], ...] = ()
    spatial_probability: Fraction = 0.8
    brightness: float = Field(default=0.0, ge=0)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    gamma: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.0, ge=0)
    blur: float = Field(default=0.0, ge=0)
    low_resolution: float = Field(default=1.0, ge=1)
    intensity_probability: Fraction = 0.3


class TrainingSpec(_Part):
    """How the network learns.

    Attributes:
        strategy: Registered kind of optimisation step.
        steps: Optimisation steps; the schedule runs on them.
        batch: Patches a step.
        patch: Voxels of a patch (slice, row, column) on the working grid.
        foreground: Share of patches centred on a voxel of a structure, structures taken in equal shares.
        learning_rate: Peak of the schedule.
        weight_decay: Of AdamW.
        warmup: Share of the steps in which the rate rises.
        clip: Largest norm of the gradient.
        ema: Decay of the averaged weights that are deployed; 0 turns averaging off.
        precision: ``"auto"`` is bf16 where the processor computes it natively, else 32 bit.
        seed: Everything random follows from it.
        threads: Threads of a step; 0 takes what the machine has. Equal weights are promised for equal threads.
        workers: Threads that prepare batches ahead; any number gives the same weights.
        validations: Times that validation cases are predicted during a fit.
        augmentation: Random changes of patches.
    """

    strategy: str = "supervised"
    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=2, ge=1)
    patch: Size = (64, 64, 64)
    foreground: Fraction = 0.5
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: Fraction = 0.1
    clip: float = Field(default=12.0, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=0)
    validations: int = Field(default=4, ge=0)
    augmentation: AugmentationSpec = AugmentationSpec()


class InferenceSpec(_Part):
    """How a whole case is predicted.

    Attributes:
        window: Voxels of a window on the working grid.
        overlap: Share of a window that its neighbour covers again.
        batch: Windows at once.
        precision: As in training.
        largest_component: Structures of which only the largest connected part is kept.
    """

    window: Size = (64, 64, 64)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    batch: int = Field(default=1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    largest_component: tuple[str, ...] = ()


class Plan(_Part):
    """Every decision, with its reason.

    Attributes:
        schema_version: Of this file's form.
        name: Of the model to be.
        inputs: Images that the network reads.
        preprocess: Onto the working grid.
        network: Features.
        task: Decision.
        training: How it learns.
        inference: How a whole case is predicted and cleaned.
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
    network: NetworkSpec = NetworkSpec()
    task: TaskSpec = TaskSpec()
    training: TrainingSpec = TrainingSpec()
    inference: InferenceSpec = InferenceSpec()
    reasons: dict[str, str] = {}

    @model_validator(mode="after")
    def _parts_fit(self) -> Plan:
        names = [i.name for i in self.inputs]
        if not names:
            raise ValueError("inputs: a plan needs at least one image")
        if len(set(names)) != len(names):
            raise ValueError(f"inputs: names are not unique: {', '.join(names)}")
        if self.preprocess.reference not in names:
            raise ValueError(
                f"preprocess.reference: {self.preprocess.reference!r} is not an input ({', '.join(names)})"
            )
        unknown = set(self.preprocess.intensity) - set(names)
        if unknown:
            raise ValueError(f"preprocess.intensity: {sorted(unknown)[0]!r} is not an input ({', '.join(names)})")
        if self.network.dimensions == 2 and (self.training.patch[0] != 1 or self.inference.window[0] != 1):
            raise ValueError("network.dimensions is 2: training.patch and inference.window must be one slice thick")
        strangers = set(self.inference.largest_component) - {s.name for s in self.task.structures}
        if strangers:
            raise ValueError(f"inference.largest_component: no structure {sorted(strangers)[0]!r}")
        return self
