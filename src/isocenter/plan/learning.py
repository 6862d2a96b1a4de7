"""How a network learns, and how it is run on whole cases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from isocenter.plan.part import Fraction, Part, Size

__all__ = ["AugmentationSpec", "InferenceSpec", "TrainingSpec", "ViewSpec"]

Millimetres = Annotated[float, Field(ge=0)]


class AugmentationSpec(Part):
    """Random changes of training patches; ranges are half-widths, probabilities per patch.

    Attributes:
        rotation_deg: About slice, row and column axis.
        scale: Relative, e.g. 0.15 for 0.85 to 1.15.
        elastic_mm: Elastic deformation: largest displacement of a control point along slice, row and column; 0 turns it
            off. At most 0.4 of ``elastic_grid_mm``, so that nothing folds.
        elastic_grid_mm: Distance of the control points, between which a cubic B-spline runs.
        mirror: Axes (0 slice, 1 row, 2 column) that may be flipped; left/right structures swap with them.
        spatial_probability: Of rotation, scale and elastic deformation together.
        brightness: In standard deviations of the normalised image.
        contrast: Relative.
        gamma: Of the logarithm of the exponent.
        noise: Largest standard deviation, in those of the normalised image.
        blur: Largest sigma in voxels.
        low_resolution: Largest factor by which the patch is coarsened and brought back.
        intensity_probability: Of each of the intensity changes.
        drop_image: Probability with which an input that is not required is left out of a patch, as if the case lacked
            it; one image always stays.

    Example:
        >>> AugmentationSpec(rotation_deg=(15, 0, 0), mirror=(2,)).scale
        0.0
    """

    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = Field(default=0.0, ge=0, lt=1)
    elastic_mm: tuple[Millimetres, Millimetres, Millimetres] = (0.0, 0.0, 0.0)
    elastic_grid_mm: float = Field(default=40.0, gt=0)
    mirror: tuple[Literal[0, 1, 2], ...] = ()
    spatial_probability: Fraction = 0.8
    brightness: float = Field(default=0.0, ge=0)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    gamma: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.0, ge=0)
    blur: float = Field(default=0.0, ge=0)
    low_resolution: float = Field(default=1.0, ge=1)
    intensity_probability: Fraction = 0.3
    drop_image: Fraction = 0.0

    @model_validator(mode="after")
    def _nothing_folds(self) -> AugmentationSpec:
        most = 0.4 * self.elastic_grid_mm
        if max(self.elastic_mm) > most:
            raise ValueError(
                f"elastic_mm {max(self.elastic_mm):g} is more than 0.4 of elastic_grid_mm {self.elastic_grid_mm:g}: "
                f"images could fold; displace by at most {most:g} or widen the grid to {max(self.elastic_mm) / 0.4:g}"
            )
        return self


class TrainingSpec(Part):
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
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=0)
    validations: int = Field(default=4, ge=0)
    augmentation: AugmentationSpec = AugmentationSpec()


class ViewSpec(Part):
    """Another look at an image that is predicted: turned, scaled and mirrored; the answer is brought back.

    Attributes:
        rotation_deg: About the slice axis; in millimetres, so that pixels which are not square are not sheared.
        scale: Above 1 the object looks larger.
        volumetric: Scale along slices too, not in the plane alone.
        mirror: Axes (0 slice, 1 row, 2 column) that are flipped; left/right structures are swapped back.

    Example:
        >>> ViewSpec(rotation_deg=15).mirror
        ()
    """

    rotation_deg: float = Field(default=0.0, ge=-180, le=180)
    scale: float = Field(default=1.0, ge=0.5, le=2)
    volumetric: bool = False
    mirror: tuple[Literal[0, 1, 2], ...] = ()


class InferenceSpec(Part):
    """How a whole case is predicted.

    Attributes:
        window: Voxels of a window on the working grid.
        overlap: Share of a window that its neighbour covers again.
        batch: Windows at once.
        precision: As in training.
        views: Further looks at each window, averaged with the plain one; each costs as much as the plain one.
        members: Networks whose outputs are averaged, all with the weights of this model.
        largest_together: Of all structures taken as one, only the largest connected part is kept; done first.
        largest_component: Structures of which only the largest connected part is kept.
    """

    window: Size = (64, 64, 64)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    batch: int = Field(default=1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    views: tuple[ViewSpec, ...] = ()
    members: int = Field(default=1, ge=1)
    largest_together: bool = False
    largest_component: tuple[str, ...] = ()
