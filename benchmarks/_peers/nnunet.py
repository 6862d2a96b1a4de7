r"""Peer: nnU-Net v2, 2-D, on a budget of wall-clock seconds.

As it comes: its own fingerprint, plan, preprocessing, augmentation, optimiser, loss, network, batch, data workers
and mirroring at prediction. Four things differ, each to its advantage on so short a budget: it trains on every
training case (fold ``all``) without validation passes; its polynomial decay, made for 250 000 steps, follows the
share of the budget that is used up, so that it ends where the budget ends; mirroring at prediction is dropped where
it would take more than three minutes; nothing is written to disk while it trains.

With ``--kind``, also, through an edited plan and a trainer subclass: a smaller network, patch and batch; bfloat16
autocast and channels-last memory; AdamW, of its own trainer variants; no mirroring and rotations within 30 degrees;
every second patch centred on the heart; the largest component of each structure kept, by its own function.

It needs a Python environment of its own, with the CPU build of torch::

    python3 -m venv VENV
    VENV/bin/pip install torch==2.13.0
    VENV/bin/pip install --no-deps nnunetv2==2.8.1 "dynamic_network_architectures>=0.4.4,<0.5" "timm<1.0.23"
    VENV/bin/pip install "acvl-utils>=0.2.6,<0.3" batchgenerators "batchgeneratorsv2>=0.3.2" blosc2 einops graphviz \
        huggingface_hub imagecodecs matplotlib monai nibabel pandas pyyaml requests safetensors scikit-image \
        scikit-learn scipy seaborn SimpleITK tifffile tqdm yacs

(``--no-deps`` because timm asks for torchvision, which is not needed here.) Then::

    VENV/bin/python benchmarks/_peers/nnunet.py --train LIST.json --out FOLDER --seconds 600 [--kind] --seed 0
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from budget import Clock, cores, options, read_labels, read_list, write_facts, write_labels

BEGAN = time.perf_counter()  # imports count
NAME = "Dataset001_Peer"
PROCESSES, DATA_WORKERS = "nnUNet_def_n_proc", "nnUNet_n_proc_DA"  # variables that nnU-Net reads
MIRRORING_MOST = 180.0  # seconds of prediction, all cases
KIND_PLAN: dict[str, Any] = {"patch_size": [160, 160], "batch_size": 12}
KIND_NETWORK: dict[str, Any] = {
    "n_stages": 5,
    "features_per_stage": [16, 32, 64, 128, 256],
    "kernel_sizes": [[3, 3]] * 5,
    "strides": [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]],
    "n_conv_per_stage": [1, 2, 2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2, 2, 1],
    "norm_op": "torch.nn.modules.batchnorm.BatchNorm2d",
}


def raw_folder(train: list[dict[str, str]], home: Path) -> Path:
    """The training cases in nnU-Net's raw layout, as links; its environment variables are set."""
    folder = home / "raw" / NAME
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    most = 0
    for case in train:
        (folder / "imagesTr" / f"{case['case']}_0000.nii.gz").symlink_to(case["image"])
        (folder / "labelsTr" / f"{case['case']}.nii.gz").symlink_to(case["label"])
        most = max(most, int(read_labels(case["label"])[0].max()))
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0} | {f"structure{k}": k for k in range(1, most + 1)},
        "numTraining": len(train),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def plan(home: Path, *, kind: bool) -> dict[str, Any]:
    """Fingerprint, plan and preprocess the 2-D configuration with nnU-Net's own steps; the plan."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as steps  # type: ignore[import-not-found]

    steps.extract_fingerprints([1], num_processes=cores(), verbose=False, show_progress_bar=False)
    identifier = steps.plan_experiments([1])
    path = home / "preprocessed" / NAME / f"{identifier}.json"
    plans: dict[str, Any] = json.loads(path.read_text())
    if kind:
        plans["configurations"]["2d"] |= KIND_PLAN
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"] |= KIND_NETWORK
        path.write_text(json.dumps(plans))
    steps.preprocess([1], identifier, ("2d",), (cores(),), show_progress_bar=False)
    return plans


def train(home: Path, clock: Clock, *, kind: bool) -> Any:
    """Train until the clock stops it; the trainer."""
    import torch
    from nnunet_trainer import Budgeted, Tuned

    folder = home / "preprocessed" / NAME
    plans = json.loads((folder / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    description = json.loads((folder / "dataset.json").read_text())
    trainer = (Tuned if kind else Budgeted)(plans, "2d", "all", description, torch.device("cpu"))
    trainer.clock = clock
    trainer.run_training()
    return trainer


def predict(trainer: Any, test: list[dict[str, str]], home: Path, out: Path, *, kind: bool) -> bool:
    """Predict every case with nnU-Net's predictor; whether mirroring was used."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # type: ignore[import-not-found]

    mirroring = trainer.inference_allowed_mirroring_axes is not None
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network, trainer.plans_manager, trainer.configuration_manager, [trainer.network.state_dict()],
        trainer.dataset_json, type(trainer).__name__, trainer.inference_allowed_mirroring_axes,
    )  # fmt: skip
    folder = home / "predicted"
    folder.mkdir()
    size = {case["case"]: Path(case["image"]).stat().st_size for case in test}
    began = time.perf_counter()
    for case in test:
        one = ([[case["image"]]], [str(folder / case["case"])])
        with torch.autocast("cpu", torch.bfloat16, enabled=kind):
            predictor.predict_from_files_sequential(*one)
        if predictor.use_mirroring and case is test[0]:
            forecast = (time.perf_counter() - began) * sum(size.values()) / size[case["case"]]
            if forecast > MIRRORING_MOST:
                predictor.use_mirroring = False
                predictor.predict_from_files_sequential(*one)
    for case in test:
        if kind:
            keep_largest(folder / f"{case['case']}.nii.gz", trainer.label_manager.foreground_labels)
        shutil.copyfile(folder / f"{case['case']}.nii.gz", out / f"{case['case']}.nii.gz")
    return bool(predictor.use_mirroring)


def keep_largest(path: Path, labels: list[int]) -> None:
    """Keep the largest component of each structure, by nnU-Net's own function; the file is replaced."""
    from nnunetv2.postprocessing.remove_connected_components import (  # type: ignore[import-not-found]
        remove_all_but_largest_component_from_segmentation,
    )

    values, affine = read_labels(path)
    for label in labels:
        values = remove_all_but_largest_component_from_segmentation(values, label)
    write_labels(path, values, affine)


def prepare_environment(home: Path, seed: int, *, kind: bool) -> None:
    """Variables that nnU-Net reads when it is imported, and the seeds it leaves to its caller."""
    for name in ("raw", "preprocessed", "results"):
        (home / name).mkdir()
        os.environ[f"nnUNet_{name}"] = str(home / name)
    os.environ[PROCESSES] = str(cores())
    os.environ[DATA_WORKERS] = "1" if kind else str(min(12, cores()))  # its own rule; one keeps up on two cores
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def main() -> None:
    """Prepare, train, predict, write the facts."""
    chosen = options(__doc__ or "")
    clock = Clock(chosen.seconds, BEGAN)
    cases, test = read_list(chosen.train)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        prepare_environment(home, chosen.seed, kind=chosen.kind)
        raw_folder(cases, home)
        plans = plan(home, kind=chosen.kind)["configurations"]["2d"]
        trainer = train(home, clock, kind=chosen.kind)
        mirroring = predict(trainer, test, home, chosen.out, kind=chosen.kind)
        clock.mark("predict")
    settings = {
        "kind": chosen.kind, "seed": chosen.seed, "patch": plans["patch_size"], "spacing": plans["spacing"],
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "features": plans["architecture"]["arch_kwargs"]["features_per_stage"],
        "optimizer": type(trainer.optimizer).__name__, "rate": trainer.initial_lr, "decay": "poly 0.9 over the budget",
        "precision": "bfloat16 channels-last" if chosen.kind else "float32",
        "data_workers": int(os.environ[DATA_WORKERS]), "mirroring": mirroring,
        "largest_component": chosen.kind,
    }  # fmt: skip
    packages = ("nnunetv2", "torch", "batchgeneratorsv2", "dynamic_network_architectures", "numpy")
    write_facts(chosen.out, clock.facts(batch=trainer.batch_size, packages=packages, settings=settings))


if __name__ == "__main__":
    main()
