"""From nothing to a result, on simulated chest CT: python examples/quickstart.py [FOLDER] [STEPS].

With 200 steps it takes a few minutes on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import isocenter as iso

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart")
steps = int(sys.argv[2] if len(sys.argv) > 2 else 200)

# DICOM studies with their truth. Any dataset that `isocenter inspect` understands would do.
organs = ["lung_left", "lung_right", "heart", "liver", "spine"]
studies = iso.simulate("thorax", out=folder / "studies", cases=6, matrix=64, slice_mm=10, structures=organs)

# Every decision, with its reason. Change any of them here or in the YAML that `isocenter plan` writes.
plan = iso.plan(studies, settings={"training.steps": steps, "training.batch": 4})
print(f"{plan.network.name} in {plan.network.dimensions}-D, patches of {plan.training.patch} voxels, because:")
for key, reason in plan.reasons.items():
    print(f"  {key}: {reason}")

# A fifth of the patients is held out; the model folder holds weights, plan, splits and a card.
model = iso.fit(studies, plan=plan, out=folder / "model")

# How good it is on the patients that it did not learn from.
figures = iso.evaluate(model, studies, split="val", out=folder / "metrics.json")
for name, row in figures["structures"].items():
    print(f"{name}: Dice {row['dice']:.3f}, HD95 {row['hd95_mm']:.1f} mm, missed in {row['missed']} cases")

# One study: DICOM SEG, NIfTI, findings and a report to look at.
unseen = next(iter(figures["cases"]))
result = model.predict(studies / unseen)
print("written:", result.save(folder / "result"))
