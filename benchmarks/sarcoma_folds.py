"""Soft-tissue sarcoma on CT and PET: 5-fold cross-validation over 13 patients, 10 minutes a fold.

The planner chooses by itself, and turns the ten minutes into steps by timing them on a quiet machine (`--measure`); the
plan with its frozen steps lies in `benchmarks/results/sarcoma_folds`. The folds train exactly these steps, without the
clock, so that the figures do not depend on what else the machine does. Every patient is predicted once, by the network
of the fold that did not learn from him or her. Beside it, on the same patients, what a nuclear-medicine reader has for
nothing: voxels above 41 % of the highest uptake (Boellaard et al. 2015, the EANM guideline).
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
from common import RESULTS, real_data, row, write_result

from isocenter.data import Dataset
from isocenter.metrics import bootstrap_mean, dice
from isocenter.plan import read_plan, write_plan
from isocenter.records import LabelMap
from isocenter.volume import resample

THRESHOLD = 0.41
PLAN = RESULTS / "sarcoma_folds" / "plan.yaml"
PROGRAM = str(Path(sys.executable).with_name("isocenter"))


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


def measure(folder: Path, minutes: float, folds: int) -> None:
    """Let a fit with a budget plan and time its steps; keep the plan and stop it."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "model"
        command = [
            PROGRAM, "fit", str(folder), "--image", "ct", "--image", "pet", "--folds", str(folds),
            "--budget", f"{minutes:g}min", "--out", str(out), "--quiet",
        ]  # fmt: skip
        fit = subprocess.Popen(command)
        made = out.with_name("model.fit") / "plan.yaml"
        while fit.poll() is None and not made.exists():
            time.sleep(1)
        if not made.exists():
            sys.exit("the fit ended before its plan was made")
        PLAN.parent.mkdir(parents=True, exist_ok=True)
        write_plan(read_plan(made), PLAN)
        fit.terminate()
        fit.wait()


def main() -> None:
    """Fit, read the held-out figures, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="a fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="where to keep the model; one that is there is not made again")
    parser.add_argument("--measure", action="store_true", help="time the steps anew; needs a quiet machine")
    options = parser.parse_args()
    folder = real_data("sarcoma_pet_ct_mr")
    if options.measure or not PLAN.exists():
        measure(folder, options.minutes, options.folds)
    plan = read_plan(PLAN)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.model or Path(temporary) / "model"
        if not (out / "cross_validation.json").exists():
            frozen = Path(temporary) / "plan.yaml"
            write_plan(plan.model_copy(update={"budget": None}), frozen)
            command = [PROGRAM, "fit", str(folder), "--plan", str(frozen), "--folds", str(options.folds)]
            subprocess.run([*command, "--out", str(out), "--overwrite"], check=True)
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
    timed = next(c for c in plan.budget.candidates if c.verdict == "chosen") if plan.budget else None
    if timed is not None:
        rows.append(row("a step, when it was timed", timed.seconds_per_step, "s"))
        rows.append(row("steps of a fold", float(timed.steps), "", spread=None))
    write_result(
        "sarcoma_folds",
        title="Sarcoma on CT and PET, cross-validated",
        about=(
            f"{' '.join(__doc__.split())} {training['steps_planned']} steps a fold were trained. Spread: 95 % bootstrap"
            " interval over patients."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    main()
