"""What cannot be used is refused in one line with exit code 2, and leaves nothing behind; see `refused`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize("verb", ["inspect", "plan", "fit", "evaluate", "predict"])
def test_nothing_there(refused: Run, trained: Path, tmp_path: Path, verb: str) -> None:
    model = [trained] if verb in ("evaluate", "predict") else []
    refused([verb, *model, "nowhere", "-q"], "nowhere: no such folder")
    (tmp_path / "hollow").mkdir()
    refused([verb, *model, "hollow", "-q"], "hollow: the folder is empty")
    (tmp_path / "hollow/note.txt").write_text("not a scan")
    refused([verb, *model, "hollow", "-q"], "hollow")


def test_label_on_another_grid_in_every_case(refused: Run, nnunet: Run, save: Run) -> None:
    data = nnunet(2)
    for n in range(2):
        label = np.asarray(nib.load(data / f"labelsTr/c{n}.nii.gz").dataobj)
        save(data / f"labelsTr/c{n}.nii.gz", label, np.diag([-2.0, -2.0, 5.0, 1.0]))
    needles = ("no case can be used", "case c0: image 'ct' and label 'main'", "spacing", "4", "5", "case c1")
    refused(["fit", data, "-q"], *needles)
    refused(["plan", data, "-q"], *needles)


def test_another_shape(refused: Run, nnunet: Run, save: Run) -> None:
    data = nnunet(2)
    for n in range(2):
        save(data / f"labelsTr/c{n}.nii.gz", np.zeros((32, 32, 7), np.uint8))
    refused(["fit", data, "-q"], "case c0", "shape", "8", "7")


def test_values_that_nobody_declared(refused: Run, nnunet: Run) -> None:
    data = nnunet(2, labels={"background": 0, "bright": 1})
    refused(["fit", data, "-q"], "case c0: label value 2 is not declared", "declared: 0, 1")


def test_one_case_only(refused: Run, nnunet: Run) -> None:
    refused(["fit", nnunet(1), "-q"], "one usable case only (c0)")
    refused(["plan", "data", "-q"], "one usable case only (c0)")


def test_one_patient_only(refused: Run, nnunet: Run) -> None:
    data = nnunet(3)
    (data / "cases.csv").write_text("case,patient\nc0,anna\nc1,anna\nc2,anna\n")
    refused(["fit", data, "-q"], "patient")


@pytest.mark.parametrize(("value", "said"), [(np.nan, "voxels are NaN"), (5.0, "every voxel is 5")])
def test_images_without_information(
    refused: Run, nnunet: Run, save: Run, trained: Path, value: float, said: str
) -> None:
    data = nnunet(2)
    for n in range(2):
        save(data / f"imagesTr/c{n}_0000.nii.gz", np.full((32, 32, 8), value, np.float32))
    refused(["fit", data, "-q"], "none of its", "c0_0000.nii.gz", said)
    refused(["predict", trained, data / "imagesTr/c0_0000.nii.gz", "-q"], "c0_0000.nii.gz", said)


def test_a_truncated_file(refused: Run, nnunet: Run, trained: Path) -> None:
    data = nnunet(2)
    for n in range(2):
        image = data / f"imagesTr/c{n}_0000.nii.gz"
        image.write_bytes(image.read_bytes()[:9000])
    refused(["fit", data, "-q"], "c0_0000.nii.gz")
    refused(["predict", trained, data / "imagesTr/c0_0000.nii.gz", "-q"], "c0_0000.nii.gz")
    image.write_bytes(image.read_bytes()[:40])  # not even the header
    refused(["predict", trained, image, "-q"], "c1_0000.nii.gz")


def test_a_patient_in_two_splits(refused: Run, nnunet: Run, tmp_path: Path) -> None:
    data = nnunet(3)
    (data / "cases.csv").write_text("case,patient\nc0,anna\nc1,anna\nc2,bert\n")
    (tmp_path / "mine.json").write_text(json.dumps({"train": ["c0", "c2"], "test": ["c1"]}))
    refused(["fit", data, "-q", "--splits", "mine.json"], "patient anna is in two splits, 'train' and 'test'")
    shutil.copy(tmp_path / "mine.json", data / "splits.json")
    for verb in ("fit", "plan"):
        refused([verb, data, "-q"], "patient anna is in two splits")
    (data / "splits.json").write_text(json.dumps({"train": ["c0"], "val": ["c0"]}))
    refused(["fit", data, "-q"], "c0 is in two splits")
    (data / "splits.json").write_text(json.dumps({"train": ["c0"], "val": ["c9"]}))
    refused(["fit", data, "-q"], "c9", "neither a case nor a patient")


def test_a_key_that_no_plan_has(ok: Run, refused: Run, nnunet: Run, tmp_path: Path) -> None:
    data = nnunet(2)
    refused(["plan", data, "-q", "--set", "training.stepz=5"], "'training.stepz'", "did you mean 'training.steps'?")
    refused(["fit", data, "-q", "--set", "trainig.steps=5"], "'trainig'", "did you mean 'training")
    refused(["fit", data, "-q", "--set", "training.steps"], "expected KEY=VALUE")
    refused(["fit", data, "-q", "--set", "training.steps=many"], "training.steps", "'many'")
    refused(["fit", data, "-q", "--set", "training.steps=0"], "training.steps", "0")
    ok("plan", data, "-q", "--out", "p.yaml")
    text = (tmp_path / "p.yaml").read_text()
    (tmp_path / "p.yaml").write_text(text.replace("  steps:", "  stepz:"))
    refused(["fit", data, "-q", "--plan", "p.yaml"], "p.yaml", "'training.stepz'", "did you mean 'training.steps'?")
    (tmp_path / "p.yaml").write_text(text.replace("steps: ", "steps: [", 1))
    refused(["fit", data, "-q", "--plan", "p.yaml"], "p.yaml: not valid YAML")
    refused(["fit", data, "-q", "--plan", "q.yaml"], "plan q.yaml: cannot be read")


def test_parts_that_do_not_exist_or_fit(refused: Run, nnunet: Run) -> None:
    fit = ["fit", nnunet(2), "-q", "--set"]
    refused([*fit, "network.name=unett"], "no network 'unett' (did you mean 'unet'?)")
    refused([*fit, "network.options.width=3"], "network.options.width", "unet knows")
    refused([*fit, "training.strategy=supervized"], "no strategy 'supervized' (did you mean 'supervised'?)")
    refused([*fit, "task.options={tolerence_mm: 1}"], "tolerence_mm", "did you mean 'tolerance_mm'?")
    refused(["--plugin", "no_such_module", "inspect", "data"], "--plugin no_such_module: cannot be imported")


@pytest.mark.parametrize("name", ["model.safetensors", "plan.yaml", "manifest.json", "splits.json", "card.md"])
def test_a_model_with_one_flipped_bit(refused: Run, studies: Path, trained: Path, tmp_path: Path, name: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    data = bytearray((model / name).read_bytes())
    for at in np.random.default_rng(0).integers(0, len(data) * 8, 3).tolist():
        data[at // 8] ^= 1 << at % 8
        (model / name).write_bytes(data)
        refused(["predict", "model", studies / "thorax_0001", "-q"], "model model", name)
        refused(["evaluate", "model", studies, "-q"], "model model", name)
        data[at // 8] ^= 1 << at % 8


def test_no_model(refused: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    refused(["predict", "nowhere", studies / "thorax_0001", "-q"], "model nowhere: no such folder")
    refused(["predict", studies, studies / "thorax_0001", "-q"], "is not a model folder")
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    refused(["predict", "model", studies / "thorax_0001", "-q"], "model.safetensors is missing")


def test_a_study_without_the_image_that_is_needed(refused: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    import pydicom

    for path in sorted((studies / "thorax_0001/ct").iterdir()):
        ds = pydicom.dcmread(path)
        ds.Modality, ds.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        (tmp_path / "mr").mkdir(exist_ok=True)
        ds.save_as(tmp_path / "mr" / path.name)
    refused(["predict", trained, "mr", "-q"], "study mr: image 'ct' (CT) is missing, the model needs it")


def test_a_study_with_several_series(ok: Run, refused: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import generate_uid

    shutil.copytree(studies / "thorax_0001/ct", tmp_path / "study/first")
    series = generate_uid()
    for path in sorted((studies / "thorax_0001/ct").iterdir()):
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SeriesDescription = series, generate_uid(), "sharp"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        (tmp_path / "study/second").mkdir(exist_ok=True)
        ds.save_as(tmp_path / "study/second" / path.name)
    refused(["predict", trained, "study", "-q"], "2 CT volumes could be image 'ct'", "sharp", "study/second")
    ok("predict", trained, "study/second", "-q", "--format", "json", "--out", "chosen")
    shutil.copytree(studies / "thorax_0002/ct", tmp_path / "study/third")
    refused(["predict", trained, "study", "-q"], "holds 2 studies")


def test_a_series_with_a_slice_missing(refused: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(studies / "thorax_0001/ct", tmp_path / "gap")
    sorted((tmp_path / "gap").iterdir())[7].unlink()
    refused(["predict", trained, "gap", "-q"], "gap")


def test_places_that_are_taken(refused: Run, studies: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    study = studies / "thorax_0001"
    for words in (["fit", studies], ["predict", trained, study], ["simulate", "thorax"], ["demo"]):
        refused([*words, "-q", "--out", "full"], "full: is not empty")
        refused([*words, "-q", "--out", "file"], "file: is a file")
        refused([*words, "-q", "--out", "file/below"], "file/below: cannot be written in")
    refused(["plan", studies, "-q", "--out", "file"], "file: is there already")
    refused(["evaluate", trained, studies, "-q", "--out", "full"], "full: is a folder")


def test_names_that_do_not_exist(refused: Run, studies: Path, trained: Path) -> None:
    refused(["predict", trained, studies / "thorax_0001", "-q", "--format", "pdf"], "format 'pdf'", "dicom-seg, nifti")
    refused(["predict", trained, studies / "thorax_0099", "-q"], "no case 'thorax_0099'", "thorax_0001")
    refused(["evaluate", trained, studies, "-q", "--split", "tset"], "no split 'tset'", "train, val")
    refused(["evaluate", trained, studies, "-q", "--by", "hospital"], "--by hospital: no case has it", "scanner")
    refused(["simulate", "abdomen", "-q", "--out", "x"], "phantom 'abdomen'", "thorax")
    refused(["inspect", studies, "--layout", "bids"], "no layout 'bids'")


def test_a_format_that_cannot_hold_the_result(refused: Run, nnunet: Run, trained: Path) -> None:
    file = nnunet(1) / "imagesTr/c0_0000.nii.gz"
    refused(["predict", trained, file, "-q", "--format", "dicom-seg"], "'dicom-seg'", "read from DICOM")


def test_an_interrupted_fit_is_plain(
    run: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isocenter.strategies.Supervised.step", stop)
    done = run("fit", nnunet(2), *sets, "--out", "m", "-q")
    assert (done.code, done.out, done.err.strip()) == (130, "", "isocenter: stopped")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_loss_that_explodes_is_named(
    refused: Run, nnunet: Run, sets: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(
        "isocenter.strategies.Supervised.step",
        lambda *_: {"loss": torch.tensor(torch.nan), "score": torch.tensor(0.0)},
    )
    refused(["fit", nnunet(2), *sets, "-q"], "step 1: the loss is not finite", "training.learning_rate")
