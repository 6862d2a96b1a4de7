"""Anatomy as a prior: slices of ACDC whose myocardium is not one ring though the truth is.

Five 2-D networks of few steps, each without four of the 20 training patients, predict those; few steps, so that there
are slices to repair. On the same predictions: nothing, keeping the largest component of every structure, the ring prior
(myocardium rings the left ventricle), the topology prior (myocardium has one piece and one hole), both priors, and the
ring prior with the largest component. A slice counts as broken where the truth's myocardium is one ring (one piece, one
hole) and the predicted one, on the image's own grid, is not. The priors' options are their defaults; how loops are
chosen was settled on predictions of other, smaller fits to these same 20 patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _acdc_folds import fold_models, stated
from common import ROOT, real_data, row, write_result
from numpy.typing import NDArray

from isocenter.inference import Engine
from isocenter.metrics import bootstrap_mean, dice
from isocenter.pipeline import Pipeline
from isocenter.plan import Plan, set_values
from isocenter.records import LabelMap
from isocenter.tasks.priors import betti_2d
from isocenter.workflow.planning import open_dataset

NAMES = ("right_ventricle", "myocardium", "left_ventricle")
RING = {"kind": "ring", "inner": "left_ventricle", "outer": "myocardium"}
ONE_RING = {"kind": "topology", "structure": "myocardium", "holes": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "as predicted": {},
    "largest component": {"inference.largest_component": list(NAMES)},
    "ring prior": {"task.options": {"priors": [RING]}},
    "topology prior": {"task.options": {"priors": [ONE_RING]}},
    "both priors": {"task.options": {"priors": [RING, ONE_RING]}},
    "ring prior, then largest component": {
        "task.options": {"priors": [RING]}, "inference.largest_component": list(NAMES),
    },
}  # fmt: skip


def variant(plan: Plan, changes: Mapping[str, Any]) -> Pipeline:
    """The plan with other decisions and the same network."""
    bare = {"inference.largest_component": [], "inference.largest_together": False, "inference.views": []}
    return Pipeline(set_values(plan, {**bare, **changes}))


def rings(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """In which slices the myocardium is one ring."""
    return np.array([betti_2d(plane == 2) == (1, 1) for plane in labels])


def read(annotation: LabelMap) -> NDArray[np.uint8]:
    """Numbers of the structures, on the grid of the image."""
    volume = annotation.read().array[0]
    out = np.zeros(volume.shape, np.uint8)
    for k, name in enumerate(NAMES, start=1):
        out[np.isin(volume, annotation.schema[name].values)] = k
    return out


def measure(folder: Path, work: Path, steps: int) -> list[dict[str, Any]]:
    """One line a case: slices and Dice of each variant."""
    dataset = open_dataset(folder)
    settings = {"training.steps": steps, "training.validations": 0}
    lines = []
    for _, held, model in fold_models(folder, dataset, work / f"steps_{steps}", settings, work / "cache"):
        pipelines = {name: variant(model.plan, changes) for name, changes in VARIANTS.items()}
        for case in dataset:
            if case.patient not in held:
                continue
            truth = read(case.find(LabelMap, name="main"))  # type: ignore[arg-type] # every case has one
            line: dict[str, Any] = {"case": case.id, "patient": case.patient, "variants": {}}
            sample = next(iter(pipelines.values())).prepare(case)
            for name, pipeline in pipelines.items():
                prediction = Engine(pipeline, model.network).predict(sample)
                found = read(next(a for a in prediction.annotations if isinstance(a, LabelMap)))
                whole = rings(found)
                line["variants"][name] = {
                    "broken": int((rings(truth) & ~whole).sum()), "rings": int(rings(truth).sum()),
                    "false": int((~rings(truth) & whole).sum()),
                    "dice": [float(dice(found == k, truth == k)) for k in (1, 2, 3)],
                }  # fmt: skip
            lines.append(line)
            print(case.id, {n: v["broken"] for n, v in line["variants"].items()}, flush=True)
    return lines


def rows_of(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Slices and Dice of the variants, against nothing done."""
    patients = [line["patient"] for line in lines]

    def total(name: str, key: str) -> int:
        return sum(int(line["variants"][name][key]) for line in lines)

    broken = total("as predicted", "broken")
    rows = [
        row("slices whose true myocardium is one ring", float(total("as predicted", "rings")), ""),
        row("of them broken as predicted", float(broken), "", least=30),
    ]
    removed = {n: 1 - total(n, "broken") / broken for n in VARIANTS if n != "as predicted"}
    for name, share in removed.items():
        first = name == "ring prior"
        rows.append(row(f"{name}: broken slices removed", share, "", least=0.6 if first else None))
        ahead = [
            float(np.mean(line["variants"][name]["dice"]) - np.mean(line["variants"]["as predicted"]["dice"]))
            for line in lines
        ]
        spread = bootstrap_mean(ahead, patients)
        rows.append(
            row(f"{name}: mean Dice gained", float(np.mean(ahead)), "", spread=[spread.low, spread.high],
                least=0.0 if first else None)
        )  # fmt: skip
        wall = [line["variants"][name]["dice"][1] - line["variants"]["as predicted"]["dice"][1] for line in lines]
        spread = bootstrap_mean(wall, patients)
        rows.append(
            row(f"{name}: Dice of the myocardium gained", float(np.mean(wall)), "", spread=[spread.low, spread.high])
        )
        rows.append(
            row(
                f"{name}: slices made a ring that are none",
                float(total(name, "false") - total("as predicted", "false")),
                "",
            )
        )
    rows.append(
        row(
            "removed by the ring prior beyond the largest component",
            removed["ring prior"] - removed["largest component"],
            "",
            least=0.0,
        )
    )
    rows.append(
        row("mean Dice as predicted", float(np.mean([line["variants"]["as predicted"]["dice"] for line in lines])), "")
    )
    return rows


def main() -> None:
    """Fit what is not there, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / ".work" / "topology")
    options = parser.parse_args()
    folder = real_data("acdc")
    options.work.mkdir(parents=True, exist_ok=True)
    lines = measure(folder, options.work, options.steps)
    (options.work / "cases.json").write_text(json.dumps(lines, indent=1))
    write_result(
        "topology",
        title="Anatomical priors: a ring that must not break",
        about=" ".join(__doc__.split())
        + f" Settings beside the planner's: {stated({'training.steps': options.steps})}."
        " Spread: 95 % bootstrap interval over patients, paired.",
        rows=rows_of(lines),
    )


if __name__ == "__main__":
    main()
