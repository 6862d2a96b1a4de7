"""Cine cardiac MR (ACDC): 20 patients train, the last 2 of each diagnosis group (10 patients) are the test set.

Everything is decided by the planner from the 20; nothing was fitted or chosen on the 10.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

from common import real_data, row, write_result

from isocenter.cli.progress import bars
from isocenter.data import Splits
from isocenter.workflow import evaluate, fit

STRUCTURES = ("right_ventricle", "myocardium", "left_ventricle")


def protocol(folder: Path, *, held_out: slice = slice(-2, None)) -> Splits:
    """Train and test patients."""
    groups: dict[str, list[str]] = {}
    with (folder / "cases.csv").open() as file:
        for line in csv.DictReader(file):
            patients = groups.setdefault(line["group"], [])
            if line["patient"] not in patients:
                patients.append(line["patient"])
    test = [p for patients in groups.values() for p in patients[held_out]]
    return Splits({"train": [p for ps in groups.values() for p in ps if p not in test], "test": test})


def main() -> None:
    """Fit, evaluate once, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], help="change of the plan, e.g. training.steps=500")
    parser.add_argument("--model", type=Path, help="where to keep the model")
    options = parser.parse_args()
    folder = real_data("acdc")
    splits = protocol(folder)
    with tempfile.TemporaryDirectory() as temporary, bars(quiet=False) as progress:
        out = options.model or Path(temporary) / "model"
        began = time.perf_counter()
        model = fit(folder, out=out, splits=splits, settings=options.set, overwrite=True, progress=progress)
        minutes = (time.perf_counter() - began) / 60
        began = time.perf_counter()
        figures = evaluate(model, folder, splits=splits, split="test", progress=progress)
        seconds = (time.perf_counter() - began) / figures["summary"]["cases"]
    summary = figures["summary"]
    rows = [
        row("mean Dice of three structures", summary["dice"], "", spread=summary["dice_interval"], least=0.85),
        *(
            row(f"Dice, {name.replace('_', ' ')}", s["dice"], "", spread=s["dice_interval"])
            for name, s in ((name, figures["structures"][name]) for name in STRUCTURES)
        ),
        row("structures missed", summary["missed"], "of 60"),
        row("fit, everything included", minutes, "min", most=15),
        row("evaluate, read to figures", seconds, "s a case"),
    ]
    write_result(
        "acdc",
        title="ACDC, cine cardiac MR",
        about=(
            f"{__doc__.strip()} {model.plan.training.steps} steps. Spread: 95 % bootstrap interval over the 10 test"
            " patients (20 cases, both phases)."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    main()
