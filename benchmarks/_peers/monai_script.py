"""Peer: a script in the manner of MONAI's tutorials, 2-D, on a budget of wall-clock seconds.

As it comes (after ``2d_segmentation/torch/unet_training_dict.py`` and ``3d_segmentation/spleen_segmentation_3d``):
cached volumes, eight crops of 96 x 96 a step, half of them centred on a label, quarter turns; the tutorials' UNet of
16 to 256 channels with residual units; Dice with cross entropy; Adam at 1e-3, constant; float32; sliding windows at
prediction. Two things differ, to its advantage: no validation passes, and workers that live for the whole run.

With ``--kind``: slices cut to a box that holds every training heart with 16 voxels to spare, at training and
prediction; a shallower, wider UNet with batch norm; bfloat16 autocast and channels-last memory; AdamW whose rate
follows a cosine over the budget; batches of 8; rotation, scaling, shift, noise, gamma and brightness by MONAI's
transforms; the largest component of each structure kept.

It needs MONAI, nibabel and torch; the environment that ``nnunet.py`` describes will do. Then::

    VENV/bin/python benchmarks/_peers/monai_script.py --train LIST.json --out FOLDER --seconds 600 [--kind] --seed 0
"""

# mypy: disable-error-code="attr-defined"
# MONAI passes names on without declaring it.

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from budget import Clock, cores, options, read_labels, read_list, write_facts, write_labels
from heart_box import Box

BEGAN = time.perf_counter()  # imports count
KEYS = ("image", "label")
PATCH, CROPS, VOLUMES, RATE = 96, 4, 2, 1e-3
KIND_BATCH, KIND_RATE = 8, 2e-3
KIND_CHANNELS = (32, 64, 128, 256)


def reading(keys: tuple[str, ...]) -> list[Any]:
    """Read, channel first, zero mean and unit deviation of what is not 0."""
    from monai import transforms as t

    return [t.LoadImaged(keys), t.EnsureChannelFirstd(keys), t.NormalizeIntensityd("image", nonzero=True)]


def batches_as_it_comes(train: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Crops from two cached volumes at a time, for ever."""
    from monai import transforms as t
    from monai.data import CacheDataset, DataLoader

    flow = t.Compose(
        [
            *reading(KEYS),
            t.RandCropByPosNegLabeld(KEYS, "label", (PATCH, PATCH, 1), pos=1, neg=1, num_samples=CROPS),
            t.SqueezeDimd(KEYS, dim=-1),
            t.RandRotate90d(KEYS, prob=0.5),
        ]
    )
    data = CacheDataset(train, flow, num_workers=cores(), progress=False)
    loader = DataLoader(data, batch_size=VOLUMES, shuffle=True, num_workers=cores(), persistent_workers=True)
    while True:
        yield from loader


def batches_kind(train: list[dict[str, str]], box: Box) -> Iterator[dict[str, Any]]:
    """Augmented slices of the box, for ever."""
    from monai import transforms as t
    from monai.data import DataLoader, Dataset, set_track_meta

    read, items = t.Compose(reading(KEYS)), []
    for case in train:
        volumes = read({key: case[key] for key in KEYS})
        pairs = zip(*(box.cut(volumes[key].as_tensor()) for key in KEYS), strict=True)
        items += [{"image": image, "label": label} for image, label in pairs]
    set_track_meta(False)  # plain tensors from here on: less work a transform
    flow = t.Compose(
        [
            t.RandAffined(
                KEYS, prob=0.8, rotate_range=math.radians(30), scale_range=0.2, translate_range=10,
                mode=("bilinear", "nearest"), padding_mode="zeros", cache_grid=True, spatial_size=box.size,
            ),
            t.RandGaussianNoised("image", prob=0.2, std=0.1),
            t.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
            t.RandScaleIntensityd("image", factors=0.25, prob=0.3),
            t.RandShiftIntensityd("image", offsets=0.25, prob=0.3),
        ]
    )  # fmt: skip
    loader = DataLoader(
        Dataset(items, flow), batch_size=KIND_BATCH, shuffle=True, drop_last=True, num_workers=1,
        persistent_workers=True, prefetch_factor=8,
    )  # fmt: skip
    while True:
        yield from loader


def network(classes: int, *, kind: bool) -> Any:
    """MONAI's UNet."""
    import torch
    from monai.networks.nets import UNet

    channels = KIND_CHANNELS if kind else (16, 32, 64, 128, 256)
    made: Any = UNet(
        spatial_dims=2, in_channels=1, out_channels=classes, channels=channels, strides=(2,) * (len(channels) - 1),
        num_res_units=2, norm="batch" if kind else "instance",
    )  # fmt: skip
    return made.to(memory_format=torch.channels_last) if kind else made


def train_network(model: Any, batches: Iterator[dict[str, Any]], clock: Clock, *, kind: bool) -> None:
    """Steps until the budget is spent."""
    import torch
    from monai.losses import DiceCELoss

    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, include_background=not kind, batch=kind)
    if kind:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), KIND_RATE, weight_decay=1e-4)
    else:
        optimizer = torch.optim.Adam(model.parameters(), RATE)
    batch = next(batches)
    model.train()
    clock.mark("prepare")
    while clock.another():
        image, label = batch["image"], batch["label"]
        if kind:
            optimizer.param_groups[0]["lr"] = KIND_RATE * 0.5 * (1 + math.cos(math.pi * clock.progress()))
            image = image.to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind):
            output = model(image)
        loss = loss_of(output.float(), label)
        loss.backward()
        optimizer.step()
        if clock.iterations % 50 == 1:
            print(f"step {clock.iterations}, loss {loss.item():.3f}", flush=True)
        batch = next(batches)
    clock.mark("train")


def predict(model: Any, test: list[dict[str, str]], out: Path, box: Box | None) -> None:
    """Label maps on the grids of the images."""
    import torch
    from monai import transforms as t
    from monai.data import set_track_meta
    from monai.inferers import SliceInferer

    set_track_meta(True)
    read = t.Compose(reading(("image",)))
    windows = SliceInferer(roi_size=(PATCH, PATCH), sw_batch_size=4, overlap=0.25, spatial_dim=2)
    model.eval()
    for case in test:
        image = read({"image": case["image"]})["image"]
        volume = image.as_tensor()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=box is not None):
            if box is None:
                found = windows(volume[None], model)[0].argmax(0)
            else:
                cut = box.cut(volume).to(memory_format=torch.channels_last)
                inside, placed = box.window(tuple(volume.shape[1:3]))
                labels = model(cut).argmax(1).permute(1, 2, 0)
                found = torch.zeros(volume.shape[1:], dtype=labels.dtype)
                found[inside] = labels[placed]
                applied = list(range(1, int(labels.max()) + 1))
                if applied:
                    found = t.KeepLargestConnectedComponent(applied, is_onehot=False)(found[None])[0]
        write_labels(out / f"{case['case']}.nii.gz", found, image.affine)


def classes_of(train: list[dict[str, str]]) -> int:
    """Classes of the training labels, background included."""
    return 1 + max(int(read_labels(case["label"])[0].max()) for case in train)


def main() -> None:
    """Prepare, train, predict, write the facts."""
    chosen = options(__doc__ or "")
    clock = Clock(chosen.seconds, BEGAN)
    train, test = read_list(chosen.train)
    chosen.out.mkdir(parents=True, exist_ok=True)
    from monai.utils import set_determinism

    set_determinism(chosen.seed)
    box = Box(train) if chosen.kind else None
    batches = batches_as_it_comes(train) if box is None else batches_kind(train, box)
    model = network(classes_of(train), kind=chosen.kind)
    train_network(model, batches, clock, kind=chosen.kind)
    predict(model, test, chosen.out, box)
    clock.mark("predict")
    settings = {
        "kind": chosen.kind, "seed": chosen.seed, "patch": box.size if box else [PATCH, PATCH],
        "parameters": sum(p.numel() for p in model.parameters()), "network": "UNet, two residual units a level",
        "channels": list(KIND_CHANNELS) if chosen.kind else [16, 32, 64, 128, 256],
        "optimizer": "AdamW" if chosen.kind else "Adam", "rate": KIND_RATE if chosen.kind else RATE,
        "decay": "cosine over the budget" if chosen.kind else "none",
        "precision": "bfloat16 channels-last" if chosen.kind else "float32",
        "data_workers": 1 if chosen.kind else cores(), "mirroring": False, "largest_component": chosen.kind,
    }  # fmt: skip
    batch = KIND_BATCH if chosen.kind else CROPS * VOLUMES
    write_facts(
        chosen.out, clock.facts(batch=batch, packages=("monai", "torch", "nibabel", "numpy"), settings=settings)
    )


if __name__ == "__main__":
    main()
