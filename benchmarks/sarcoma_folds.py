"""Soft-tissue sarcoma on CT and PET: 5-fold cross-validation over 13 patients, 10 minutes a fold.

The planner chooses by itself. Every patient is predicted once, by the network of the fold that did not learn from him
or her. Beside it, on the same patients, what a nuclear-medicine reader has for nothing: voxels above 41 % of the
highest uptake (Boellaard et al. 2015, the EANM guideline).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import real_data, row, write_result

from isocenter.data import Dataset
from isocenter.metrics import bootstrap_mean, dice
from isocenter.records import LabelMap
from isocenter.volume import resample

THRESHOLD = 0.41


def uptake(folder: Path) -> tuple[list[float], list[str]]:
    """Dice of the threshold on the CT's grid, and the patient, of every case."""
    figures, patients = [], []
    for case in Dataset.read(folder):
        truth = case.find(LabelMap, image="ct")
        if truth is None:
            continue
        volume = truth.read()
        pet = resample(case.image("pet").read(), volume.grid)
        hot = pet.array[0] >= THRESHOLD * pet.array.max()
        figures.append(float(dice(hot, volume.array[0] > 0)))
        patients.append(case.patient)
    return figures, patients


def main() -> None:
    """Fit, read the held-out figures, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="a fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="where to keep the model")
    options = parser.parse_args()
    folder = real_data("sarcoma_pet_ct_mr")
    program = str(Path(sys.executable).with_name("isocenter"))
    with tempfile.TemporaryDirectory() as temporary:
        out = options.model or Path(temporary) / "model"
        began = time.perf_counter()
        subprocess.run(
            [
                program, "fit", str(folder), "--image", "ct", "--image", "pet", "--folds", str(options.folds),
                "--budget", f"{options.minutes:g}min", "--out", str(out), "--overwrite",
            ],
            check=True,
        )  # fmt: skip
        minutes = (time.perf_counter() - began) / 60
        found = json.loads((out / "cross_validation.json").read_text())
        training = json.loads((out / "training.json").read_text())
    rows = []
    for kind, what in (
        ("raw", "as predicted"), ("nested", "cleaned as the other folds chose"),
    ):  # fmt: skip
        summary = found[kind]["summary"]
        rows.append(row(f"Dice of held-out patients, {what}", summary["dice"], "", spread=summary["dice_interval"]))
    missed = found["raw"]["summary"]["missed"]
    rows.append(row("tumours missed, as predicted", missed, f"of {found['raw']['summary']['cases']}"))
    figures, patients = uptake(folder)
    alone = bootstrap_mean(figures, patients)
    rows.append(row("Dice of a PET threshold, 41 % of the highest", float(np.mean(figures)), "",
                    spread=[alone.low, alone.high]))  # fmt: skip
    rows.append(row("wall time", minutes, "min", most=1.1 * options.minutes * options.folds))
    write_result(
        "sarcoma_folds",
        title="Sarcoma on CT and PET, cross-validated",
        about=(
            f"{' '.join(__doc__.split())} {training['steps_planned']} steps a fold. Spread: 95 % bootstrap interval"
            " over patients."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    main()
