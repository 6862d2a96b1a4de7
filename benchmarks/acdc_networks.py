"""Families of networks on ACDC: the same ten minutes on two cores for each, 20 patients train, 10 test.

For each family the planner chooses everything but the family and its dimensions, and turns the budget into steps: that
is timed, on a quiet machine, by `--measure`, which also takes the memory of the steps and the seconds of a case. The
plans with their frozen steps lie in `benchmarks/results/acdc_networks`; `--run` trains exactly these steps, so that the
figures do not depend on what else the machine does, and keeps each run by itself. The table is made of all runs that
are there.

Two claims of the field are tested: that pseudo-3-D networks need 70 % less memory than 3-D ones, and that a hybrid with
3-D attention is 6 points of Dice ahead of plain 3-D convolution. Memory is compared at the same patch, batch and
widths, those of the 3-D network, and as each family is planned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from acdc import protocol
from common import RESULTS, ROOT, real_data, row, write_result

from isocenter.metrics import bootstrap_mean
from isocenter.plan import Plan, read_plan, set_values, write_plan
from isocenter.workflow import evaluate, load
from isocenter.workflow.planning import open_dataset

FAMILIES = {
    "2-D": ("unet", 2),
    "3-D": ("unet", 3),
    "pseudo-3-D": ("pseudo3d", 3),
    "hybrid": ("hybrid", 3),
    "light": ("light", 2),
}
RUNS = RESULTS / "acdc_networks"
MINUTES = 10
PROGRAM = str(Path(sys.executable).with_name("isocenter"))


def measure(family: str, folder: Path, splits: Path, work: Path) -> None:
    """Plan with the budget; then steps and cases of the plan in processes of their own."""
    name, dimensions = FAMILIES[family]
    file = work / f"{family}.yaml"
    command = [
        PROGRAM, "plan", str(folder), "--splits", str(splits), "--budget", f"{MINUTES}min", "--out", str(file),
        "--network", name, "--dimensions", str(dimensions), "--cache", str(work / "cache"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    plan = read_plan(file).model_copy(update={"budget": None})
    RUNS.mkdir(parents=True, exist_ok=True)
    write_plan(plan, RUNS / f"{family}.yaml")
    alone = costs(RUNS / f"{family}.yaml", folder, splits, work)
    same = work / f"{family}-same.yaml"
    write_plan(_like(plan, read_plan(RUNS / "3-D.yaml")), same)
    (RUNS / f"{family}-costs.json").write_text(
        json.dumps({"as planned": alone, "same patch": costs(same, folder, splits, work)}, indent=1) + "\n"
    )
    print(family, alone, flush=True)


def _like(plan: Plan, other: Plan) -> Plan:
    """The plan with the patch, batch and widths of another, where its network can take the patch."""
    if plan.network.name != "light":  # narrow by design
        plan = set_values(plan, {"network.options.channels": other.network.options["channels"]})
    if plan.network.dimensions == 2:
        slices = other.training.patch[0]
        flat = [1, *other.training.patch[1:]]
        return set_values(
            plan,
            {
                "training.patch": flat, "inference.window": flat, "training.batch": other.training.batch * slices,
                "preprocess.spacing_mm": list(plan.preprocess.spacing_mm or ()),
            },
        )  # fmt: skip
    patch = list(other.training.patch)
    return set_values(
        plan, {"training.patch": patch, "inference.window": patch, "training.batch": other.training.batch}
    )  # fmt: skip


def costs(plan: Path, folder: Path, splits: Path, work: Path) -> dict[str, float]:
    """What the steps and cases of a plan take, read in a fresh process."""
    command = [sys.executable, __file__, "--costs", str(plan), "--splits", str(splits), "--work", str(work)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return values


def print_costs(file: Path, folder: Path, splits: Path, work: Path) -> None:
    """Peak memory of a few steps above what the process had before them; seconds of a step and of a case."""
    import psutil

    from isocenter.planner.measuring import predicting_seconds, time_steps
    from isocenter.workflow.learning import Learner

    plan = read_plan(file)
    learner = Learner(plan, device="cpu", progress=None)
    dataset = open_dataset(folder, splits=splits)
    learner.prepare(dataset, work / "cache")
    samples = learner.prepared.choose(tuple(dataset.split("train").ids))
    before = psutil.Process().memory_info().rss / 1e9
    timing = time_steps(plan, samples, device="cpu", steps=12, seconds=40)
    cases = [samples.whole(k) for k in range(4)]
    parameters = sum(p.numel() for p in _network(plan).parameters())
    print(
        json.dumps(
            {
                "memory_gb": timing.memory_gb - before,
                "seconds_a_step": timing.seconds_per_step,
                "seconds_a_case": predicting_seconds(plan, cases),
                "parameters": parameters,
                "voxels_a_step": float(np.prod(plan.training.patch) * plan.training.batch),
            }
        )
    )


def _network(plan: Plan) -> Any:
    from isocenter.networks import build_network
    from isocenter.pipeline import Pipeline

    return build_network(plan.network, plan.inputs, Pipeline(plan).task.heads())


def run(family: str, seed: int, folder: Path, splits: Path, work: Path) -> None:
    """Train the frozen plan with a seed and read its figures on the test patients."""
    file = RUNS / f"{family}-{seed}.json"
    if file.exists():
        return
    print(f"== {family}, seed {seed}", flush=True)
    out = work / f"{family}-{seed}"
    command = [
        PROGRAM, "fit", str(folder), "--splits", str(splits), "--plan", str(RUNS / f"{family}.yaml"), "--out", str(out),
        "--overwrite", "--quiet", "--cache", str(work / "cache"), "--set", f"training.seed={seed}",
        "--set", f"name={family}",
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True)
    minutes = (time.perf_counter() - began) / 60
    figures = evaluate(load(out), folder, splits=splits, split="test")
    dice = {
        case: float(np.mean([s["dice"] if s.get("dice") is not None else 0.0 for s in structures.values()]))
        for case, structures in figures["cases"].items()
    }
    structures = {name: s["dice"] for name, s in figures["structures"].items()}
    training = json.loads((out / "training.json").read_text())
    found = {
        "family": family, "seed": seed, "dice": dice, "structures": structures, "steps": training["steps"],
        "minutes_here": minutes,
    }  # fmt: skip
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(round(float(np.mean(list(dice.values()))), 4), structures, flush=True)


def table(patient: dict[str, str]) -> None:
    """The result file of all plans and runs that are there."""
    found = {f: [json.loads(p.read_text()) for p in sorted(RUNS.glob(f"{f}-[0-9].json"))] for f in FAMILIES}
    cost = {
        f: json.loads((RUNS / f"{f}-costs.json").read_text()) for f in FAMILIES if (RUNS / f"{f}-costs.json").exists()
    }
    mean = {f: _mean(runs) for f, runs in found.items() if runs}
    rows: list[dict[str, Any]] = []
    for family, dice in mean.items():
        rows.append(_interval(f"{family}: mean Dice ({len(found[family])} seeds)", dice, patient))
        each = [float(np.mean(list(r["dice"].values()))) for r in found[family]]
        rows.append(row(f"{family}: median, lowest and highest seed", float(np.median(each)), "",
                        spread=[min(each), max(each)]))  # fmt: skip
    for one, other, least in (("hybrid", "3-D", 0.06), ("pseudo-3-D", "3-D", None), ("light", "2-D", None),
                              ("2-D", "3-D", None), ("hybrid", "2-D", None), ("pseudo-3-D", "2-D", None)):  # fmt: skip
        if one in mean and other in mean:
            ahead = {c: mean[one][c] - mean[other][c] for c in mean[one]}
            rows.append(_interval(f"{one} less {other}, paired", ahead, patient, least=least))
    if "3-D" in cost and "pseudo-3-D" in cost:
        for how in ("same patch", "as planned"):
            share = cost["pseudo-3-D"][how]["memory_gb"] / cost["3-D"][how]["memory_gb"]
            rows.append(row(f"memory of training, pseudo-3-D of 3-D, {how}", share, "", most=0.3))
    lines = []
    for family, values in cost.items():
        plan = read_plan(RUNS / f"{family}.yaml")
        a, b = values["as planned"], values["same patch"]
        lines.append([
            family, "x".join(map(str, plan.training.patch)), str(plan.training.batch), str(plan.training.steps),
            f"{a['parameters'] / 1e6:.2f}", f"{a['seconds_a_step']:.3f}", f"{a['memory_gb']:.2f}",
            f"{b['memory_gb']:.2f}", f"{a['seconds_a_case']:.2f}",
        ])  # fmt: skip
    columns = ["family", "patch", "batch", "steps", "million parameters", "s a step", "GB of training",
               "GB, patch and widths of 3-D", "s a case"]  # fmt: skip
    write_result(
        "acdc_networks",
        title="Families of networks: ACDC, equal budgets",
        about=" ".join(__doc__.split()) + " Spread of Dice: 95 % bootstrap interval over patients, seeds averaged.",
        rows=rows,
        tables=[{"title": "What each takes", "columns": columns, "lines": lines}],
    )


def _mean(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {c: float(np.mean([r["dice"][c] for r in runs])) for c in runs[0]["dice"]}


def _interval(name: str, dice: dict[str, float], patient: dict[str, str], **target: Any) -> dict[str, Any]:
    cases = sorted(dice)
    found = bootstrap_mean([dice[c] for c in cases], [patient[c] for c in cases])
    return row(name, float(np.mean(list(dice.values()))), "", spread=[found.low, found.high], **target)


def main() -> None:
    """Measure, run, or make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="plan and time every family; needs a quiet machine")
    parser.add_argument("--run", action="store_true", help="train what is not yet there")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--families", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / ".work" / "acdc_networks")
    parser.add_argument("--costs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--splits", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = real_data("acdc")
    if options.costs:
        print_costs(options.costs, folder, options.splits, options.work)
        return
    splits = protocol(folder)
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / "splits.json"
    file.write_text(json.dumps({k: list(v) for k, v in splits.items()}))
    if options.measure:
        for family in sorted(options.families, key=lambda f: f != "3-D"):  # the others are compared at its patch
            measure(family, folder, file, options.work)
    if options.run:
        for seed in options.seeds:
            for family in options.families:
                run(family, seed, folder, file, options.work)
    table({c.id: c.patient for c in open_dataset(folder, splits=splits).split("test")})


if __name__ == "__main__":
    main()
