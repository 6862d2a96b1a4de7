"""Augmentation of a patch and its label: Isocenter against batchgeneratorsv2, MONAI and TorchIO, and against before.

Every tool does the same to a patch of 128 x 128 x 128 with its label, always: rotation, scale, elastic deformation,
gamma and noise, with ranges as alike as the tools' options allow; see `MATCHED`. Tools take turns, so that whatever
else the machine does falls on all of them, and a ratio is that of two neighbours in time.

A peer that cannot be imported is skipped with a word. An environment with all of them:

    python -m venv peers
    peers/bin/pip install -c constraints.txt torch
    peers/bin/pip install -c constraints.txt -e . monai torchio batchgeneratorsv2
    peers/bin/python benchmarks/augment.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version

import numpy as np
import torch
from common import row, write_result
from torch import Tensor
from torch.nn import functional

from isocenter.augment import apply_intensity, draw_intensity, draw_map
from isocenter.plan import AugmentationSpec

MATCHED = """\
Rotation by up to 15 degrees about each axis, a scale of 0.85 to 1.15 (MONAI: one for each axis), image linear with the
border repeated (TorchIO: its minimum), label nearest, exponent of gamma from exp(-0.3) to exp(0.3), noise with a
deviation of up to 0.15, each of them always. Elastic:
Isocenter and TorchIO move control points 21.3 voxels apart by up to 6 voxels with a cubic B-spline between them;
batchgeneratorsv2 and MONAI blur noise, so they get the Gaussian (sigma 12.8 voxels) and the strength that give a field
of the same root mean square (1.15 voxels) and steepness. TorchIO's gamma keeps no statistics and is so the cheaper one;
its affine and elastic steps are done in one interpolation."""
SIZE = 128
GRID = SIZE / 6  # six intervals of control points
LARGEST = 6.0
# Variance of a uniform control point, times the mean of the spline's squared weights along three axes.
RMS = LARGEST / 3**0.5 * (151 / 315) ** 1.5
# A blurred field falls off as exp(-d^2 / 4 sigma^2); the spline's mean squared slope is 2/3 / (151/315) / GRID^2.
SIGMA = GRID * (151 / 315 * 3 / 4) ** 0.5
DEGREES, SCALE, GAMMA, NOISE = 15.0, 0.15, 0.3, 0.15
THREADS = 2

Augment = Callable[[], object]


def isocenter(image: Tensor, label: Tensor) -> Augment:
    spec = AugmentationSpec(
        rotation_deg=(DEGREES, DEGREES, DEGREES), scale=SCALE, elastic_mm=(LARGEST, LARGEST, LARGEST),
        elastic_grid_mm=GRID, gamma=GAMMA, noise=NOISE, spatial_probability=1, intensity_probability=1,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    middle = ((SIZE - 1) / 2,) * 3

    def run() -> tuple[Tensor, Tensor]:
        drawn = draw_map(rng, spec, centre=middle, shape=(SIZE, SIZE, SIZE), spacing_mm=(1, 1, 1))
        patch = drawn.sample(image, threads=THREADS)
        apply_intensity(patch, draw_intensity(rng, spec), threads=THREADS, out=patch)
        return patch, drawn.sample(label, "nearest", outside=0, threads=THREADS)

    return run


def batchgeneratorsv2(image: Tensor, label: Tensor) -> Augment:
    spatial, noise, gamma, utils = (
        import_module(f"batchgeneratorsv2.transforms.{part}")
        for part in ("spatial.spatial", "intensity.gaussian_noise", "intensity.gamma", "utils.compose")
    )
    turn = float(np.radians(DEGREES))
    chain = utils.ComposeTransforms([
        spatial.SpatialTransform(
            (SIZE, SIZE, SIZE), 0, random_crop=False, p_elastic_deform=1, elastic_deform_scale=SIGMA / SIZE,
            elastic_deform_magnitude=3.4 * RMS,  # its largest displacement: that of a field of this size, on average
            p_rotation=1, rotation=(-turn, turn), p_scaling=1, scaling=(1 - SCALE, 1 + SCALE),
            p_synchronize_scaling_across_axes=1, mode_seg="nearest", border_mode_seg="zeros",
            padding_mode_image="border",
        ),
        noise.GaussianNoiseTransform((0, NOISE)),
        gamma.GammaTransform((float(np.exp(-GAMMA)), float(np.exp(GAMMA))), 0, False, 1, 1),
    ])  # fmt: skip
    return lambda: chain(image=image, segmentation=label)


def monai(image: Tensor, label: Tensor) -> Augment:
    import_module("monai.data").set_track_meta(False)
    to = import_module("monai.transforms")
    blurred = (1 / 3) ** 0.5 * (2 * np.pi**0.5 * SIGMA) ** -1.5  # deviation of uniform noise after the Gaussian
    turn = float(np.radians(DEGREES))
    chain = to.Compose([
        to.Rand3DElasticd(
            ("image", "label"), sigma_range=(SIGMA, SIGMA), magnitude_range=(RMS / blurred, RMS / blurred), prob=1,
            rotate_range=(turn, turn, turn), scale_range=(SCALE, SCALE, SCALE), mode=("bilinear", "nearest"),
            padding_mode=("border", "zeros"),
        ),
        to.RandGaussianNoised("image", prob=1, std=NOISE, sample_std=True),
        to.RandAdjustContrastd("image", prob=1, gamma=(float(np.exp(-GAMMA)), float(np.exp(GAMMA))), retain_stats=True),
    ])  # fmt: skip
    return lambda: chain({"image": image, "label": label})


def torchio(image: Tensor, label: Tensor) -> Augment:
    tio = import_module("torchio")
    import_module("SimpleITK").ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    subject = tio.Subject(image=tio.ScalarImage(tensor=image), label=tio.LabelMap(tensor=label))
    chain = tio.Compose([
        tio.RandomAffineElasticDeformation(
            affine_first=False,
            affine_kwargs={"scales": (1 - SCALE, 1 + SCALE), "degrees": DEGREES, "isotropic": True},
            elastic_kwargs={"num_control_points": 9, "max_displacement": LARGEST, "locked_borders": 0},
        ),
        tio.RandomNoise(std=(0, NOISE)),
        tio.RandomGamma(log_gamma=GAMMA),
    ])  # fmt: skip
    return lambda: chain(subject)


def data() -> tuple[Tensor, Tensor]:
    """A smooth random image, and a label of four structures."""
    noise = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    image = functional.interpolate(noise, size=(SIZE, SIZE, SIZE), mode="trilinear")[0]
    image = (image - image.mean()) / image.std()
    return image, torch.bucketize(image, torch.tensor([-1.0, 0.0, 1.0])).to(torch.uint8)


def alternate(tools: Mapping[str, Augment], repeats: int) -> dict[str, list[float]]:
    """Seconds of every tool, one after the other, so many times."""
    taken: dict[str, list[float]] = {name: [] for name in tools}
    for tool in tools.values():
        tool()  # compilation and caches are not what is compared
    for _ in range(repeats):
        for name, tool in tools.items():
            start = time.perf_counter()
            tool()
            taken[name].append(time.perf_counter() - start)
    return taken


def range_of(values: list[float]) -> list[float]:
    low, high = np.percentile(values, (10, 90))
    return [float(low), float(high)]


def before(image: Tensor, label: Tensor, spec: AugmentationSpec, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A slice as it was augmented with torch operations, one after the other."""
    shape = (1, 112, 128)
    drawn = draw_map(rng, spec, centre=(4, 100, 90), shape=shape, spacing_mm=(8, 1.3, 1.3))
    z = int(drawn.matrix[0, 3])
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in shape[1:])
    m = torch.from_numpy(drawn.matrix[1:3, 1:4].astype(np.float32))
    y, x = (m[a, 0] * rows[:, None] + m[a, 1] * columns + m[a, 2] for a in range(2))
    size = image.shape[2:]
    grid = torch.stack([2 * x / (size[1] - 1) - 1, 2 * y / (size[0] - 1) - 1], -1)[None]
    patch = functional.grid_sample(image[:, z][None], grid, padding_mode="border", align_corners=True)
    iy, ix = torch.floor(y + 0.5).long(), torch.floor(x + 0.5).long()
    inside = (iy >= 0) & (iy < size[0]) & (ix >= 0) & (ix < size[1])
    picked = label[:, z][:, iy.clamp(0, size[0] - 1), ix.clamp(0, size[1] - 1)]
    return _values_before(patch, spec, rng)[0][:, None], torch.where(inside, picked, 255)[:, None]


def _values_before(patch: Tensor, spec: AugmentationSpec, rng: np.random.Generator) -> Tensor:
    change = draw_intensity(rng, spec)
    if change.noise:
        patch = patch + torch.randn(patch.shape, generator=torch.Generator().manual_seed(change.key)) * change.noise
    if change.blur >= 0.2:
        reach = max(1, int(3 * change.blur + 0.5))
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / change.blur) ** 2)
        weights = weights / weights.sum()
        patch = functional.conv2d(functional.pad(patch, (reach,) * 4, mode="reflect"), weights.reshape(1, 1, -1, 1))
        patch = functional.conv2d(patch, weights.reshape(1, 1, 1, -1))
    patch = (patch - patch.mean()) * change.contrast + patch.mean() + change.brightness
    if change.low_resolution > 1:
        size = patch.shape[2:]
        patch = functional.interpolate(patch, size=[round(n / change.low_resolution) for n in size], mode="nearest")
        patch = functional.interpolate(patch, size=size, mode="bilinear", align_corners=False)
    if change.gamma != 1:
        low, high, mean, deviation = patch.amin(), patch.amax(), patch.mean(), patch.std()
        bent = ((patch - low) / (high - low)) ** change.gamma
        patch = (bent - bent.mean()) / bent.std() * deviation + mean
    return patch


def slices(repeats: int) -> dict[str, list[float]]:
    """Batches of 16 slices of 112 x 128, as a heart in two dimensions is learned from, with one thread."""
    spec = AugmentationSpec(
        rotation_deg=(25, 0, 0), scale=0.2, brightness=0.2, contrast=0.25, gamma=0.3, noise=0.15, blur=1.0,
        low_resolution=2.0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(1, 10, 220, 200)).astype(np.float32))
    label = torch.from_numpy(rng.integers(0, 4, (1, 10, 220, 200)).astype(np.uint8))

    def now() -> None:
        for _ in range(16):
            drawn = draw_map(rng, spec, centre=(4, 100, 90), shape=(1, 112, 128), spacing_mm=(8, 1.3, 1.3))
            patch = drawn.sample(image)
            apply_intensity(patch, draw_intensity(rng, spec), out=patch)
            drawn.sample(label, "nearest", outside=255)

    return alternate({"before": lambda: [before(image, label, spec, rng) for _ in range(16)], "now": now}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(THREADS)
    image, label = data()
    tools = {"isocenter": isocenter(image, label)}
    for make in (batchgeneratorsv2, monai, torchio):
        try:
            tools[make.__name__] = make(image, label)
        except ImportError as error:
            print(f"skipped: {make.__name__} ({error})")
    taken = alternate(tools, repeats)
    ours = taken.pop("isocenter")
    milliseconds = [1e3 * t for t in ours]
    rows = [row("patch 128^3 and label, two threads", float(np.median(milliseconds)), "ms",
                spread=range_of(milliseconds))]  # fmt: skip
    for name, theirs in taken.items():
        ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
        ratio = float(np.median(theirs) / np.median(ours))
        rows.append(row(f"{name} {version(name)} takes", ratio, "times as long", spread=range_of(ratios), least=10))
    torch.set_num_threads(1)
    flat = slices(5 * repeats)
    batches = [1e3 * t for t in flat["now"]]
    ratios = [a / b for a, b in zip(flat["before"], flat["now"], strict=True)]
    rows.append(row("batch of 16 slices 112 x 128 with labels, one thread", float(np.median(batches)), "ms",
                    spread=range_of(batches)))  # fmt: skip
    rows.append(row("with torch operations it takes", float(np.median(flat["before"]) / np.median(flat["now"])),
                    "times as long", spread=range_of(ratios), least=3))  # fmt: skip
    for one in rows:
        print(f"{one['name']:55s} {one['value']:8.2f} {one['unit']:15s} {one['spread']}")
    write_result(
        "augment", title="Augmentation",
        about=f"Every tool in turn, {repeats} times, {THREADS} threads each; medians, spread from the 10th to the 90th"
        f" percentile. {MATCHED} The slices: rotation, scale and the planner's changes of values, each with its"
        " probability, now against the same with torch operations.".replace("\n", " "),
        rows=rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
