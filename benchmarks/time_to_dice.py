"""What a few minutes on a processor are worth: ACDC, 20 patients train, 10 test, the same wall time for everyone.

Isocenter is given a budget and nothing else. The peers (`benchmarks/_peers`) get the same cases, cores and minutes:
nnU-Net 2-D with its own trainer and plan, a MONAI tutorial script, and both tuned kindly. Everyone is scored by the
same measures. The test patients chose nothing.

Runs are kept one by one in `benchmarks/results/time_to_dice`, so that a long comparison can be made in parts; the
result file is made of all that are there.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from acdc import protocol
from common import RESULTS, ROOT, real_data, row, write_result

from isocenter.data import CaseDataset, Splits
from isocenter.io.nifti import read_nifti
from isocenter.metrics import Measure, bootstrap_mean, summarise
from isocenter.pipeline import Pipeline
from isocenter.records import LabelMap, Prediction
from isocenter.volume import Volume
from isocenter.workflow import evaluate, load, plan
from isocenter.workflow.planning import open_dataset

PEERS = {
    "nnU-Net 2-D, its own plan and trainer": ["nnunet.py"],
    "nnU-Net 2-D, tuned kindly": ["nnunet.py", "--kind"],
    "MONAI tutorial script": ["monai_script.py"],
    "MONAI, tuned kindly": ["monai_script.py", "--kind"],
}
RUNS = RESULTS / "time_to_dice"
LEAST = {3: 0.87, 10: 0.89}


def own_run(folder: Path, splits: Path, minutes: float, seed: int, place: Path) -> dict[str, Any]:
    """One fit by the command line with a budget, and its figures on the test patients."""
    program = str(Path(sys.executable).with_name("isocenter"))
    command = [
        program, "fit", str(folder), "--out", str(place / "model"), "--overwrite",
        "--splits", str(splits), "--budget", f"{minutes:g}min", "--set", f"training.seed={seed}",
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    model = load(place / "model")
    began = time.perf_counter()
    figures = evaluate(model, folder, splits=splits, split="test")
    predicting = (time.perf_counter() - began) / figures["summary"]["cases"]
    training = json.loads((place / "model" / "training.json").read_text())
    return {
        "seconds": seconds, "seconds_a_case": predicting, "dice": _by_case(figures), "structures": _structures(figures),
        "facts": {"steps": training["steps"], "planned": training["steps_planned"], "patch": model.plan.training.patch,
                  "channels": model.plan.network.options.get("channels"), "batch": model.plan.training.batch},
    }  # fmt: skip


def peer_run(
    python: str, name: str, dataset: CaseDataset, lists: Path, minutes: float, seed: int, place: Path
) -> dict[str, Any]:
    """One run of a peer in its own environment, scored by our measures."""
    script, *more = PEERS[name]
    command = [
        python, str(ROOT / "benchmarks" / "_peers" / script), "--train", str(lists), "--out", str(place),
        "--seconds", f"{60 * minutes:g}", "--seed", str(seed), *more,
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    test = dataset.split("test")
    pipeline = Pipeline(plan(dataset, name="scores"))
    measures: list[Measure] = []
    for case in test:
        volume = read_nifti(place / f"{case.id}.nii.gz")
        found = LabelMap(schema=pipeline.task.spec.schema_, read=partial(_itself, volume), source=name)
        measures += pipeline.task.measure(Prediction(case, (found,), {}, (), None), case)
    figures = summarise(measures)
    facts = json.loads((place / "facts.json").read_text())
    return {
        "seconds": seconds, "seconds_a_case": facts["seconds_predict"] / len(test), "dice": _by_case(figures),
        "structures": _structures(figures), "facts": facts,
    }  # fmt: skip


def _itself(volume: Volume) -> Volume:
    return volume


def _by_case(figures: dict[str, Any]) -> dict[str, float]:
    return {
        case: float(np.mean([s["dice"] if s.get("dice") is not None else 0.0 for s in structures.values()]))
        for case, structures in figures["cases"].items()
    }


def _structures(figures: dict[str, Any]) -> dict[str, float]:
    return {name: s["dice"] for name, s in figures["structures"].items()}


def write_lists(folder: Path, dataset: CaseDataset, splits: Splits, work: Path) -> tuple[Path, Path]:
    """Splits for us, files for the peers; the truth of the test cases is not among them."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "splits.json").write_text(json.dumps({k: list(v) for k, v in splits.items()}))
    files: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for part, lines in files.items():
        for case in dataset.split(part):
            line = {"case": case.id, "image": str(folder / "imagesTr" / f"{case.id}_0000.nii.gz")}
            if part == "train":
                line["label"] = str(folder / "labelsTr" / f"{case.id}.nii.gz")
            lines.append(line)
    (work / "files.json").write_text(json.dumps(files))
    return work / "splits.json", work / "files.json"


def rows_of(runs: Sequence[dict[str, Any]], patient: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of everyone at every budget; the spread over patients, seeds averaged."""
    rows = []
    ours = {r["minutes"]: r for r in _grouped(runs) if r["who"] == "isocenter"}
    for group in sorted(_grouped(runs), key=lambda g: (g["minutes"], g["who"] != "isocenter", g["who"])):
        minutes, who, dice = group["minutes"], group["who"], group["dice"]
        cases = sorted(dice)
        found = bootstrap_mean([dice[c] for c in cases], [patient[c] for c in cases])
        least = LEAST.get(minutes) if who == "isocenter" else None
        name = f"{minutes:g} min: {who}, mean Dice ({group['seeds']} seed{'s' * (group['seeds'] > 1)})"
        rows.append(row(name, float(np.mean(list(dice.values()))), "", spread=[found.low, found.high], least=least))
        if who == "isocenter":
            rows.append(row(f"{minutes:g} min: lowest and highest seed", float(np.median(group["each"])), "",
                            spread=[min(group["each"]), max(group["each"])]))  # fmt: skip
            share = [s / (60 * minutes) for s in group["seconds"]]
            rows.append(row(f"{minutes:g} min: wall time of the fit, of the budget", float(np.median(share)), "",
                            spread=[min(share), max(share)], most=1.1))  # fmt: skip
        elif minutes in ours:
            ahead = [ours[minutes]["dice"][c] - dice[c] for c in cases]
            paired = bootstrap_mean(ahead, [patient[c] for c in cases])
            rows.append(row(f"{minutes:g} min: isocenter less {who}, paired", float(np.mean(ahead)), "",
                            spread=[paired.low, paired.high]))  # fmt: skip
            rows.append(
                row(f"{minutes:g} min: {who}, whole wall time with prediction", group["seconds"][0] / 60, "min")
            )
    return rows


def _grouped(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["minutes"], run["who"]), []).append(run)
    return [
        {
            "minutes": minutes, "who": who, "seeds": len(members), "seconds": [m["seconds"] for m in members],
            "each": [float(np.mean(list(m["dice"].values()))) for m in members],
            "dice": {c: float(np.mean([m["dice"][c] for m in members])) for c in members[0]["dice"]},
        }
        for (minutes, who), members in groups.items()
    ]  # fmt: skip


def main() -> None:
    """Make the runs that are asked for and not yet there, then the result file of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="*", default=[3.0, 10.0, 30.0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--peer-python", help="interpreter that has nnunetv2 and monai; without it peers are left out")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / ".work" / "time_to_dice")
    options = parser.parse_args()
    folder = real_data("acdc")
    splits = protocol(folder)
    dataset = open_dataset(folder, splits=splits)
    splits_file, files = write_lists(folder, dataset, splits, options.work)
    wanted = [("isocenter", m, s) for m in options.minutes for s in options.seeds]
    wanted += [(name, 10.0, 0) for name in options.peers if options.peer_python and 10.0 in options.minutes]
    for who, minutes, seed in wanted:
        short = "".join(c for c in who if c.isalnum())
        file = RUNS / f"{short}-{minutes:g}min-{seed}.json"
        if file.exists():
            continue
        RUNS.mkdir(parents=True, exist_ok=True)
        place = options.work / file.stem
        place.mkdir(exist_ok=True)
        print(f"== {who}, {minutes:g} min, seed {seed}", flush=True)
        if who == "isocenter":
            found = own_run(folder, splits_file, minutes, seed, place)
        else:
            found = peer_run(options.peer_python, who, dataset, files, minutes, seed, place)
        file.write_text(json.dumps({"who": who, "minutes": minutes, "seed": seed, **found}, indent=1))
        print(
            {k: round(float(np.mean(list(found[k].values()))), 4) for k in ("dice",)}, found["structures"], flush=True
        )
    runs = [json.loads(f.read_text()) for f in sorted(RUNS.glob("*min-*.json"))]
    if not runs:
        print("no runs yet")
        return
    with (folder / "cases.csv").open() as table:
        known = list(csv.DictReader(table))
    patient = {c.id: c.patient for c in dataset.split("test")}
    write_result(
        "time_to_dice",
        title="Dice for minutes: ACDC on a processor",
        about=f"{__doc__.strip().partition(chr(10) * 2)[2].partition(chr(10) * 2)[0]} {len(patient)} test cases of"
        f" {len(set(patient.values()))} of {len({k['patient'] for k in known})} patients."
        " Spread of mean Dice: 95 % bootstrap interval over test patients, seeds averaged."
        + ("" if any(r["who"] != "isocenter" for r in runs) else " The peers' runs are still to be made."),
        rows=rows_of(runs, patient),
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
