"""Who is scanned: the numbers that differ from patient to patient."""

from __future__ import annotations

from dataclasses import dataclass

from isocenter.simulate._random import stream
from isocenter.simulate.waves import Warp, Waves

__all__ = ["Patient", "Tissue"]


@dataclass(frozen=True)
class Tissue:
    """Mean CT values in HU. ``texture`` is how far soft tissue strays smoothly from its mean."""

    fat: float = -100.0
    skin: float = 20.0
    muscle: float = 55.0
    blood: float = 42.0
    myocardium: float = 46.0
    liver: float = 58.0
    spleen: float = 48.0
    kidney: float = 33.0
    lung: float = -855.0
    marrow: float = 170.0
    cortex: float = 650.0
    cartilage: float = 105.0
    texture: float = 4.0


@dataclass(frozen=True, eq=False)
class Patient:
    """Build of one patient. Lengths in mm, before the warp.

    Attributes:
        sex: ``"F"`` or ``"M"``.
        age: Years.
        contrast: Whether blood is enhanced.
        tissue: Values of the tissues.
        fat_mm: Subcutaneous fat at the flank.
        breast_mm: Height of the breasts.
        dome_mm: Height of the diaphragm above its mean: shallow breath is positive.
        heart_scale: Size of the heart.
        heart_turn_deg: Turn of its axis to the left.
        kyphosis_mm: Sagitta of the thoracic spine.
        aorta_scale: Width of the aorta.
        vertebra_mm: Distance of vertebrae.
        vertebra_shift_mm: Where the first one stands.
        stomach_gas: Level of gas in the stomach, mm.
        warp: Smooth change of shape.
        texture: Two smooth fields, coarse and fine, of root mean square 1.
    """

    sex: str
    age: int
    contrast: bool
    tissue: Tissue
    fat_mm: float
    breast_mm: float
    dome_mm: float
    heart_scale: float
    heart_turn_deg: float
    kyphosis_mm: float
    aorta_scale: float
    vertebra_mm: float
    vertebra_shift_mm: float
    stomach_gas: float
    warp: Warp
    texture: tuple[Waves, Waves]

    @staticmethod
    def draw(seed: int, case: int) -> Patient:
        """Patient number ``case`` of the population ``seed``."""
        rng = stream(seed, case, "patient")
        female = bool(rng.random() < 0.5)
        contrast = bool(rng.random() < 0.5)
        size = rng.normal(-0.035 if female else 0.035, 0.03)
        scale = tuple(float(min(max(1 + size + rng.normal(0, 0.03), 0.88), 1.07)) for _ in range(3))
        tissue = _tissue(contrast, rng.normal(size=6).clip(-2, 2).tolist())
        warp = Warp.draw(stream(seed, case, "warp"), scale=(scale[0], scale[1], scale[2]), rms_mm=4.0)
        waves = stream(seed, case, "texture")
        return Patient(
            sex="F" if female else "M",
            age=int(rng.integers(35, 85)),
            contrast=contrast,
            tissue=tissue,
            fat_mm=float(rng.uniform(6, 20)),
            breast_mm=float(rng.uniform(6, 16)) if female else 0.0,
            dome_mm=float(rng.uniform(-12, 12)),
            heart_scale=float(rng.uniform(0.94, 1.05)),
            heart_turn_deg=float(rng.uniform(-8, 8)),
            kyphosis_mm=float(rng.uniform(10, 20)),
            aorta_scale=float(rng.uniform(0.9, 1.15)),
            vertebra_mm=float(rng.uniform(23.8, 25.2)),
            vertebra_shift_mm=float(rng.uniform(-4, 4)),
            stomach_gas=float(rng.uniform(-50, -35)),
            warp=warp,
            texture=(
                Waves.draw(waves, count=24, lengths_mm=(45.0, 160.0)),
                Waves.draw(waves, count=48, lengths_mm=(8.0, 32.0)),
            ),
        )


def _tissue(contrast: bool, draw: list[float]) -> Tissue:
    base = Tissue()
    enhanced = (100 + 15 * draw[0], 55 + 8 * draw[0], 50 + 8 * draw[1], 65 + 8 * draw[1], 120 + 15 * draw[0])
    blood, myocardium, liver, spleen, kidney = enhanced if contrast else (0.0, 0.0, 0.0, 0.0, 0.0)
    return Tissue(
        fat=base.fat + 4 * draw[2],
        muscle=base.muscle + 4 * draw[3] + (8 if contrast else 0),
        blood=base.blood + 2 * draw[0] + blood,
        myocardium=base.myocardium + 2 * draw[0] + myocardium,
        liver=base.liver + 5 * draw[1] + liver,
        spleen=base.spleen + 2 * draw[1] + spleen,
        kidney=base.kidney + kidney,
        lung=base.lung + 18 * draw[4],
        marrow=base.marrow + 35 * draw[5],
        cortex=base.cortex + 60 * draw[5],
    )
