"""Five diagnoses of ACDC from three kinds of evidence: images, features of true masks, features of predicted masks.

A case is a patient with two images, at the end of diastole and of systole. Features are what the planner chooses:
volumes of the three structures, their ratios and changes (spacing is nominal, so volumes are in nominal millilitres).
Predicted masks of the 20 training patients are cross-validated: five 2-D networks with frozen steps, each without four
patients; test patients are predicted by the mean of the five. The classifier of features is a logistic regression whose
penalty is chosen inside of the training cases. Figures: cross-validation over the 20 (again five folds, classifier
anew in each), and once the 10 test patients. Nothing was chosen on the 10.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _acdc_folds import FOLDS, fold_models, fold_of, groups
from acdc import protocol
from common import RESULTS, ROOT, real_data, row, write_result

from isocenter.data import CaseDataset, Splits
from isocenter.inference import Engine
from isocenter.io.nifti import write_nifti
from isocenter.metrics import bootstrap_mean
from isocenter.networks import Ensemble
from isocenter.records import ClassLabel, LabelMap
from isocenter.volume import Volume
from isocenter.workflow import fit
from isocenter.workflow.planning import open_dataset

STEPS = 700
RUNS = RESULTS / "diagnosis"
KINDS: dict[str, dict[str, Any]] = {
    "features of true masks": {"network": "measured", "measure": "main"},
    "features of predicted masks": {"network": "measured", "measure": "predicted"},
    "images": {},
    "images and features of predicted masks": {"measure": "predicted"},
}


def predict_masks(folder: Path, work: Path) -> Path:
    """Masks that were never learned from, one file a case."""
    out = work / "predicted"
    out.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(folder)
    test = protocol(folder)["test"]
    settings = {"training.steps": STEPS, "training.validations": 0}
    networks, pipeline = [], None
    for _, held, model in fold_models(folder, dataset, work / f"steps_{STEPS}", settings, work / "cache"):
        pipeline = model.pipeline
        networks.append(model.network)
        _write(dataset, held, Engine(pipeline, model.network), out)
    if pipeline is not None:
        _write(dataset, test, Engine(pipeline, Ensemble(networks)), out)
    return out


def _write(dataset: CaseDataset, patients: Sequence[str], engine: Engine, out: Path) -> None:
    for case in dataset:
        file = out / f"{case.id}.nii.gz"
        if case.patient in patients and not file.exists():
            prediction = engine.predict(engine.pipeline.prepare(case))
            found = next(a for a in prediction.annotations if isinstance(a, LabelMap))
            volume = found.read()
            write_nifti(file, Volume(volume.array.astype(np.uint8), volume.grid, "label"))
            print("predicted", case.id, flush=True)


def write_table(folder: Path, predicted: Path, work: Path) -> Path:
    """A patient a line, both phases as images of one case."""
    place = work / "patients"
    place.mkdir(parents=True, exist_ok=True)
    columns = ["case", "patient", "class.diagnosis"]
    columns += [f"{kind}@{phase}" for kind in ("label", "label.predicted") for phase in ("ed", "es")]
    columns += ["image.ed", "image.es"]
    with (place / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for patient, group in groups(folder).items():
            line = {"case": patient, "patient": patient, "class.diagnosis": group}
            for phase in ("ED", "ES"):
                case = f"{patient}_{phase}"
                line[f"image.{phase.lower()}"] = str(folder / "imagesTr" / f"{case}_0000.nii.gz")
                line[f"label@{phase.lower()}"] = str(folder / "labelsTr" / f"{case}.nii.gz")
                line[f"label.predicted@{phase.lower()}"] = str(predicted / f"{case}.nii.gz")
            writer.writerow(line)
    names = {"right_ventricle": 1, "myocardium": 2, "left_ventricle": 3}
    (place / "labels.json").write_text(json.dumps({"labels": names}))
    return place


def answer(
    dataset: CaseDataset, options: Mapping[str, Any], train: Sequence[str], asked: Sequence[str], out: Path
) -> dict[str, Any]:
    """Learn from patients, answer for others: probabilities of the diagnoses."""
    said = {"task": "classification", "target": "diagnosis", "images": ["ed", "es"], **options}
    model = fit(
        dataset.with_splits(Splits({"train": list(train)})), out=out, overwrite=True,
        settings={"training.validations": 0, "training.seed": 0}, **said,
    )  # fmt: skip
    found = {}
    for case in dataset:
        if case.patient in asked:
            engine = Engine(model.pipeline, model.network)
            with torch.inference_mode():
                prediction = engine.predict(model.pipeline.prepare(case))
            label = next(a for a in prediction.annotations if isinstance(a, ClassLabel))
            found[case.patient] = dict(zip(label.classes, label.probabilities or (), strict=True))
    return found


def run(kind: str, folder: Path, table: Path, work: Path) -> None:
    """Cross-validated answers for the 20, answers of a model of the 20 for the 10."""
    file = RUNS / f"{kind.replace(' ', '_')}.json"
    if file.exists():
        return
    dataset = open_dataset(table)
    chosen, test = fold_of(folder), protocol(folder)["test"]
    held: dict[str, Any] = {}
    for number in range(FOLDS):
        asked = [p for p, k in chosen.items() if k == number]
        train = [p for p in chosen if p not in asked]
        held |= answer(dataset, KINDS[kind], train, asked, work / "classifier")
    final = answer(dataset, KINDS[kind], list(chosen), test, work / "classifier")
    RUNS.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"kind": kind, "held out": held, "test": final}, indent=1) + "\n")
    print(kind, {part: _accuracy(found, groups(folder)) for part, found in (("held out", held), ("test", final))})


def _right(found: Mapping[str, Mapping[str, float]], truth: Mapping[str, str]) -> list[float]:
    return [float(max(shares, key=lambda c: shares[c]) == truth[p]) for p, shares in found.items()]


def _accuracy(found: Mapping[str, Mapping[str, float]], truth: Mapping[str, str]) -> float:
    return float(np.mean(_right(found, truth)))


def auc(found: Mapping[str, Mapping[str, float]], truth: Mapping[str, str]) -> float:
    """Mean over diagnoses of the area under the curve of each against the others."""
    areas = []
    for name in sorted(set(truth.values())):
        inside = [s[name] for p, s in found.items() if truth[p] == name]
        outside = [s[name] for p, s in found.items() if truth[p] != name]
        areas.append(np.mean([float(a > b) + 0.5 * (a == b) for a in inside for b in outside]))
    return float(np.mean(areas))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Accuracy and AUC of every kind of evidence that was run."""
    truth, rows = groups(folder), []
    rng = np.random.default_rng(0)
    for kind in KINDS:
        file = RUNS / f"{kind.replace(' ', '_')}.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text())
        for part, what in (("held out", "20, cross-validated"), ("test", "10 test patients")):
            answers = found[part]
            right = _right(answers, truth)
            spread = bootstrap_mean(right, list(answers))
            least = 0.8 if kind == "features of predicted masks" else None
            rows.append(
                row(
                    f"{kind}: accuracy, {what}",
                    float(np.mean(right)),
                    "",
                    spread=[spread.low, spread.high],
                    least=least,
                )
            )
            names = list(answers)
            areas: list[float] = []
            while len(areas) < 1000:
                drawn = rng.choice(len(names), len(names))
                sample = {f"{k}": answers[names[i]] for k, i in enumerate(drawn)}
                labels = {f"{k}": truth[names[i]] for k, i in enumerate(drawn)}
                if len(set(labels.values())) == len(set(truth.values())):
                    areas.append(auc(sample, labels))
            low, high = np.percentile(areas, (2.5, 97.5))
            rows.append(row(f"{kind}: AUC, {what}", auc(answers, truth), "", spread=[float(low), float(high)]))
    return rows


def main() -> None:
    """Predict masks, run what is not there, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / ".work" / "diagnosis")
    options = parser.parse_args()
    folder = real_data("acdc")
    predicted = predict_masks(folder, options.work)
    table = write_table(folder, predicted, options.work)
    for kind in options.kinds:
        run(kind, folder, table, options.work)
    write_result(
        "diagnosis",
        title="Diagnosis from images and from measurements: ACDC",
        about=" ".join(__doc__.split()) + f" {STEPS} steps a segmentation. Spread: 95 % bootstrap interval.",
        rows=rows_of(folder),
    )


if __name__ == "__main__":
    main()
