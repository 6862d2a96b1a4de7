"""Random patches of a large prepared case: from the cache, and from the other places they could come from."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from common import row, write_result
from numpy.typing import NDArray
from scipy import ndimage

from isocenter.data import CaseCache
from isocenter.data.layouts.parts import LabelFile
from isocenter.io.nifti import read_label_nifti, read_nifti
from isocenter.io.refs import nifti_ref
from isocenter.pipeline import Pipeline, prepare_cached
from isocenter.plan import Plan
from isocenter.records import Case, LabelMap, LabelSchema

SHORT = "--short" in sys.argv
PATCHES = 12 if SHORT else 80
STORED, SPACING_MM, WORKING_MM = (300, 498, 498), (1.0, 0.72, 0.72), (1.0, 0.70, 0.70)  # 512 x 512 when prepared
SIZE = 128
PLAN = Plan.model_validate(
    {
        "inputs": [{"name": "ct", "modality": "CT"}],
        "preprocess": {
            "reference": "ct",
            "spacing_mm": WORKING_MM,
            "intensity": {"ct": {"scheme": "fixed", "lower": -950, "upper": 950, "mean": -200, "std": 400}},
        },
        "task": {"structures": [{"name": "a", "values": [1]}, {"name": "b", "values": [2]}]},
    }
)
Read = Callable[[tuple[slice, ...]], object]


def make_case(folder: Path) -> Case:
    """A body with smooth organs in air, noise as wide and as correlated as a CT's (20 HU), labels of two organs."""
    rng = np.random.default_rng(0)
    _, y, x = np.ogrid[: STORED[0], : STORED[1], : STORED[2]]
    body = ((y - 250) / 165) ** 2 + ((x - 250) / 215) ** 2 < 1
    coarse = ndimage.gaussian_filter(rng.normal(size=[n // 4 + 2 for n in STORED]), 2)
    organs = ndimage.zoom((coarse / coarse.std()).astype(np.float32), 4.05, order=1)[tuple(map(slice, STORED))] * 60
    noise = ndimage.gaussian_filter(rng.standard_normal(STORED, np.float32), (0.3, 0.7, 0.7))
    image = np.where(body, 40 + organs, -1000) + noise * (20 / noise.std())
    labels = (body & (organs > 80)).astype(np.uint8) + 2 * (body & (organs < -100)).astype(np.uint8)
    affine = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1])
    for name, array in (("image", np.clip(np.round(image), -1024, 3071).astype(np.int16)), ("label", labels)):
        saved = nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine)
        nibabel.openers.Opener.default_compresslevel = 1
        nibabel.save(saved, folder / f"{name}.nii.gz")
    schema = LabelSchema.of({"a": 1, "b": 2})
    label = folder / "label.nii.gz"
    truth = LabelMap(image="ct", source=str(label), schema=schema, read=LabelFile(label))
    return Case("case", "patient", {"ct": nifti_ref("ct", folder / "image.nii.gz", "CT")}, (truth,))


def peers(folder: Path, image: NDArray[Any], label: NDArray[Any]) -> dict[str, Read]:
    """Other ways to the same patch of image and label."""
    import blosc2

    np.save(folder / "image.npy", image)
    np.save(folder / "label.npy", label)
    maps = [np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("image", "label")]
    found: dict[str, Read] = {"npy, mapped into memory": lambda box: [np.array(m[box]) for m in maps]}
    settings = {"codec": blosc2.Codec.LZ4, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE], "filters_meta": [0]}
    arrays = [
        blosc2.asarray(
            a, chunks=(1, 64, 128, 128), blocks=(1, 32, 32, 32), urlpath=str(folder / f"{n}.b2nd"), cparams=settings
        )
        for n, a in (("image", image), ("label", label))
    ]
    found["blosc2.NDArray, LZ4"] = lambda box: [a[box] for a in arrays]
    if find_spec("zarr"):
        zarr: Any = import_module("zarr")
        stored = [
            zarr.create_array(folder / f"{n}.zarr", data=a, chunks=(1, 64, 64, 64))
            for n, a in (("image", image), ("label", label))
        ]
        found["zarr, its default codec"] = lambda box: [a[box] for a in stored]
    return found


def whole_files(folder: Path, box: tuple[slice, ...]) -> list[NDArray[Any]]:
    """What a loader without a cache reads for one patch, preparing not counted."""
    volumes = read_nifti(folder / "image.nii.gz", unit="HU"), read_label_nifti(folder / "label.nii.gz")
    return [v.array[box] for v in volumes]


def timed(reads: Mapping[str, Read], shape: tuple[int, ...]) -> dict[str, list[float]]:
    """Milliseconds of each way, taken in turn at the same random places, the first of each not counted."""
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {name: [] for name in reads}
    for number in range(PATCHES + 1):
        low = [int(rng.integers(0, n - SIZE + 1)) for n in shape[1:]]
        box = (slice(None), *(slice(a, a + SIZE) for a in low))
        for name, read in reads.items():
            began = time.perf_counter()
            read(box)
            if number:
                found[name].append(1e3 * (time.perf_counter() - began))
    return found


def quartiles(values: list[float]) -> list[float]:
    return [float(q) for q in np.percentile(values, (25, 75))]


def patches_a_second(read: Read, shape: tuple[int, ...], threads: int) -> float:
    rng = np.random.default_rng(2)
    lows = [[int(rng.integers(0, n - SIZE + 1)) for n in shape[1:]] for _ in range(PATCHES)]
    boxes = [(slice(None), *(slice(a, a + SIZE) for a in low)) for low in lows]

    def once(box: tuple[slice, ...]) -> None:
        read(box)  # and forget: patches that are kept would measure how fast new memory is

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(once, boxes))
        return len(boxes) / (time.perf_counter() - began)


def main() -> None:
    """Prepare one case, then read patches."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        case, cache, pipeline = make_case(folder), CaseCache(folder / "cache"), Pipeline(PLAN)
        pipeline.prepare(case)  # compiles the kernels
        began = time.perf_counter()
        prepare_cached(pipeline, [case], cache, memory_bytes=0)
        built = time.perf_counter() - began
        began = time.perf_counter()
        samples, _ = prepare_cached(pipeline, [case], cache, memory_bytes=0)
        opened = time.perf_counter() - began
        image: Any = samples[0].inputs["ct"]
        label: Any = samples[0].targets["labels"]
        sizes = {name: array.path.stat().st_size / 1e6 for name, array in (("image", image), ("label", label))}
        reads: dict[str, Read] = {
            "the cache": lambda box: (image[box], label[box]),
            "the cache, image alone": lambda box: image[box],
            **peers(folder, image.read(), label.read()),
        }
        times = timed(reads, image.shape)
        files = timed({"": lambda box: whole_files(folder, box)}, (1, *STORED))[""][: max(3, PATCHES // 10)]
        threads = [patches_a_second(reads["the cache"], image.shape, n) for n in (1, 4)]
    first = statistics.median(times["the cache"])
    rows = [
        row(
            f"random {SIZE}^3 patch from {name}", statistics.median(found), "ms", spread=quartiles(found),
            most=5 if name == "the cache" else None,
        )
        for name, found in times.items()
    ]  # fmt: skip
    rows.append(row("both .nii.gz read whole", statistics.median(files), "ms", spread=quartiles(files)))
    rows += [
        row(f"{name} / the cache", statistics.median(ratios), "", spread=quartiles(ratios))
        for name in times
        if not name.startswith("the cache")
        for ratios in [[a / b for a, b in zip(times[name], times["the cache"], strict=True)]]
    ]
    rows += [
        row("both .nii.gz read whole / the cache", statistics.median(files) / first, ""),
        row("patches a second, one thread", threads[0], "1/s"),
        row("patches a second, four threads", threads[1], "1/s"),
        row("image on disk (float32)", sizes["image"], "MB"),
        row("image in memory", image.nbytes / 1e6, "MB"),
        row("label on disk (uint8)", sizes["label"], "MB"),
        row("case prepared and kept", built, "s"),
        row("kept case opened and its hashes compared", opened, "s"),
    ]
    for one in rows:
        print(f"{one['name']:55s} {one['value']:9.2f} {one['unit']}")
    if SHORT:
        return  # a look, not a result
    write_result(
        "cache",
        title="Patches from the cache of prepared cases",
        about=(
            f"{__doc__ or ''} One simulated CT of {' x '.join(map(str, image.shape[1:]))} voxels after resampling, with"
            f" its label; {PATCHES} places, every way in turn; files in the page cache. Spread: quartiles."
        ),
        rows=rows,
    )


if __name__ == "__main__":
    main()
