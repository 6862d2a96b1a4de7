"""Soft-tissue sarcoma on CT: 12 patients train, STS_008 is read from its DICOM folder and predicted to a DICOM SEG."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from common import real_data, row, write_result

from isocenter.cli.progress import bars
from isocenter.data import Dataset, Splits
from isocenter.io.dicom import find_series, read_seg
from isocenter.metrics import dice
from isocenter.records import LabelMap
from isocenter.volume import resample
from isocenter.workflow import fit

PATIENT = "STS_008"


def main() -> None:
    """Fit, predict the DICOM CT, compare the written SEG with the expert's mask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], help="change of the plan, e.g. training.steps=500")
    parser.add_argument("--keep", type=Path, help="where to keep model and result")
    options = parser.parse_args()
    folder = real_data("sarcoma_pet_ct_mr")
    ct = next(s for s in find_series(folder / "dicom" / PATIENT) if s.modality == "CT")
    with tempfile.TemporaryDirectory() as temporary, bars(quiet=False) as progress:
        place = options.keep or Path(temporary)
        began = time.perf_counter()
        model = fit(
            folder, out=place / "model", splits=Splits({"test": [PATIENT]}), images=["ct"], settings=options.set,
            overwrite=True, progress=progress,
        )  # fmt: skip
        minutes = (time.perf_counter() - began) / 60
        began = time.perf_counter()
        model.predict(ct.source, out=place / "result", overwrite=True)
        seconds = time.perf_counter() - began
        masks, _, source = read_seg(place / "result" / "segmentation.dcm")
    if source != ct.uid:
        raise SystemExit("the segmentation does not refer to the CT series")
    truth = Dataset.read(folder)[PATIENT].find(LabelMap, image="ct")
    if truth is None:
        raise SystemExit("the patient has no mask on the CT")
    real = truth.read()
    found = resample(masks, real.grid, interpolation="nearest", fill=0)
    write_result(
        "sarcoma_ct",
        title="Soft-tissue sarcoma, CT alone, DICOM in and SEG out",
        about=f"{__doc__.strip()} {model.plan.training.steps} steps. One patient: no interval can be given.",
        rows=[
            row(f"Dice of the tumour, {PATIENT}", dice(found.array[0] > 0, real.array[0] > 0), ""),
            row("fit, everything included", minutes, "min"),
            row("predict, DICOM folder to saved result", seconds, "s"),
        ],
    )


if __name__ == "__main__":
    main()
