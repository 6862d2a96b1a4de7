"""Resampling and label kernels: Isocenter against torch, SimpleITK, scikit-image and scipy.

Tools take turns, with as many threads each as there are cores, so that whatever else the machine does falls on all of
them, and a ratio is that of two neighbours in time. What is compared is checked in the same run.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib.metadata import version
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk  # noqa: N813
import torch
from common import row, write_result
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize
from torch.nn import functional

from isocenter.volume import Grid, resample_array, resample_labels
from isocenter.volume.classmaps import ClassMaps
from isocenter.volume.compiled import usable_cores

FINE = Grid.regular((300, 512, 512), spacing_mm=(1.0, 0.75, 0.75))
COARSE = FINE.respaced((1.5, 1.5, 1.5))
CLASSES = 5
MEGABYTE = 1e6

Tool = Callable[[], Any]
Row = dict[str, Any]


def smooth(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Random structures some twenty voxels wide."""
    noise = torch.randn(1, 1, *(n // 20 + 2 for n in shape), generator=torch.Generator().manual_seed(seed))
    found: NDArray[np.float32] = functional.interpolate(noise, size=shape, mode="trilinear")[0, 0].numpy()
    return found


def scan() -> NDArray[np.int16]:
    """Structures of -1000 to 1000 HU with a noise of 20 HU, ``(1, slice, row, column)``."""
    image = np.clip(smooth(FINE.shape, 0) * 400, -1000, 1000)
    image += np.random.default_rng(0).normal(size=image.shape).astype(np.float32) * 20
    return image[None].astype(np.int16)


def class_maps() -> NDArray[np.float32]:
    """Logits of a background and four structures, with noise as a network leaves it."""
    maps = np.stack([smooth(COARSE.shape, k) * 6 for k in range(CLASSES)])
    maps[0] += 5
    maps += np.random.default_rng(1).normal(size=maps.shape).astype(np.float32) * 0.1
    return maps


def alternate(tools: Mapping[str, Tool], repeats: int) -> dict[str, list[float]]:
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


def extra_memory(tool: Tool) -> float:
    """Most memory that ``tool`` needs beside what was there, result included, in MB.

    Resident memory does not grow where freed memory is used again, so what numpy allocates is counted too; the larger
    of both is given.
    """
    process, done = psutil.Process(), Event()
    gc.collect()
    before = highest = process.memory_info().rss

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.0005):
            highest = max(highest, process.memory_info().rss)

    watcher = Thread(target=watch)
    watcher.start()
    result = tool()
    highest = max(highest, process.memory_info().rss)
    done.set()
    watcher.join()
    del result
    tracemalloc.start()
    tool()
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(max(highest - before, traced)) / MEGABYTE


def spread(values: list[float]) -> list[float]:
    low, high = np.percentile(values, (10, 90))
    return [float(low), float(high)]


def compared(what: str, tools: Mapping[str, Tool], repeats: int, targets: Mapping[str, float]) -> list[Row]:
    """Milliseconds of the first tool, and how many times as long each other takes."""
    taken = alternate(tools, repeats)
    mine, *others = tools
    ours = taken[mine]
    rows = [row(f"{what}: {mine}", 1e3 * float(np.median(ours)), "ms", spread=spread([1e3 * t for t in ours]))]
    for name in others:
        ratio = float(np.median(taken[name]) / np.median(ours))
        ratios = [a / b for a, b in zip(taken[name], ours, strict=True)]
        rows.append(
            row(f"{what}: {name} takes", ratio, "times as long", spread=spread(ratios), least=targets.get(name))
        )
    for name in (mine, *others):
        rows.append(row(f"{what}: {name}, extra memory", extra_memory(tools[name]), "MB"))
    return rows


def linear(image: NDArray[np.int16], repeats: int) -> list[Row]:
    """To 1.5 mm without smoothing, by the same positions: time, and distance from scipy in float64."""
    matrix, shape = COARSE.index_map_to(FINE), COARSE.shape
    whole, floats = image[0], image.astype(np.float32)
    threads = usable_cores()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    moving, like = sitk.GetImageFromArray(whole), sitk.Image(shape[::-1], sitk.sitkFloat32)
    for picture, grid in ((moving, FINE), (like, COARSE)):
        picture.SetSpacing(grid.spacing_mm[::-1])
        picture.SetOrigin(grid.origin_mm.tolist())

    def ours(values: NDArray[Any] = image) -> NDArray[Any]:
        return resample_array(values, matrix, shape, antialias=False)

    def in_torch(values: NDArray[Any] = image) -> torch.Tensor:
        return functional.interpolate(torch.from_numpy(values).float()[None], size=shape, mode="trilinear")

    its = f"SimpleITK {version('SimpleITK')}"
    skimage = f"scikit-image {version('scikit-image')}"
    tools: dict[str, Tool] = {
        "isocenter": ours,
        "torch": in_torch,
        its: lambda: sitk.Resample(moving, like, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32),
        skimage: lambda: resize(whole.astype(np.float32), shape, 1, mode="edge", anti_aliasing=False),
    }
    rows = compared("linear", tools, repeats, {"torch": 5, its: 8, skimage: 10})
    rows += compared("linear, float32 in", {"isocenter": lambda: ours(floats), "torch": lambda: in_torch(floats)},
                     repeats, {})[:2]  # fmt: skip
    return [*rows, row("linear, to 1.37 mm: largest distance from scipy in float64", away_from_scipy(image), "HU",
                       most=1e-3)]  # fmt: skip


def away_from_scipy(image: NDArray[np.int16]) -> float:
    """At 1.37 mm, since weights at 1.5 mm are halves and quarters, which rounding leaves alone."""
    target = FINE.respaced((1.37, 1.37, 1.37))
    matrix = target.index_map_to(FINE)
    found = resample_array(image, matrix, target.shape, antialias=False)[0]
    exact = ndimage.affine_transform(
        image[0].astype(np.float64), np.diag(matrix)[:3], matrix[:3, 3], target.shape, order=1, mode="nearest"
    )
    return float(np.abs(found - exact).max())


def cubic(image: NDArray[np.int16], repeats: int) -> list[Row]:
    """Catmull-Rom against scipy's B-spline, which is another kernel; 100 slices."""
    part = image[:, :100]
    matrix, shape = COARSE.index_map_to(FINE), (66, *COARSE.shape[1:])
    tools: dict[str, Tool] = {
        "isocenter": lambda: resample_array(part, matrix, shape, interpolation="cubic", antialias=False),
        "scipy (a B-spline: not the same kernel)": lambda: ndimage.affine_transform(
            part[0], np.diag(matrix)[:3], matrix[:3, 3], shape, np.float32, order=3, mode="nearest"
        ),
    }
    return compared("Catmull-Rom, 100 slices", tools, repeats, {})[:2]


def shrunk(image: NDArray[np.int16], repeats: int) -> list[Row]:
    """Anti-aliased: torch has it for two axes at a time, so it goes over the volume twice."""
    matrix, (depth, *plane) = COARSE.index_map_to(FINE), COARSE.shape

    def twice() -> torch.Tensor:
        slices = torch.from_numpy(image[0]).float()[:, None]
        flat = functional.interpolate(slices, size=plane, mode="bilinear", antialias=True)[:, 0].flatten(1)
        along = functional.interpolate(flat[None, None], size=(depth, flat.shape[1]), mode="bilinear", antialias=True)
        return along.reshape(depth, *plane)

    tools: dict[str, Tool] = {"isocenter": lambda: resample_array(image, matrix, COARSE.shape), "torch": twice}
    rows = compared("linear, anti-aliased", tools, repeats, {})
    inner = (slice(3, -3),) * 3  # at the border torch leaves the kernel out
    away = float(np.abs(resample_array(image, matrix, COARSE.shape)[0] - twice().numpy())[inner].max())
    return [*rows, row("linear, anti-aliased: largest distance from torch, which does not keep ramps", away, "HU")]


def back(maps: NDArray[np.float32], repeats: int) -> list[Row]:
    """Five class maps back onto the scan's grid, and how many labels differ."""
    sizes, shape = COARSE.shape, FINE.shape
    matrix = FINE.index_map_to(COARSE)
    places = [np.clip(matrix[a, a] * np.arange(shape[a]) + matrix[a, 3], 0, sizes[a] - 1) for a in range(3)]

    def ours() -> NDArray[np.uint8]:
        found = ClassMaps(len(maps), places, sizes)
        for start in range(0, sizes[0], 32):  # as they come from a sliding window
            found.add(maps[:, start : start + 32])
        drawn: NDArray[np.uint8] = found.labels()[0]
        return drawn

    def running(dtype: torch.dtype = torch.float32) -> NDArray[np.uint8]:
        best, drawn = torch.full(shape, -torch.inf, dtype=dtype), torch.zeros(shape, dtype=torch.uint8)
        for k, one in enumerate(maps):
            values = functional.interpolate(torch.from_numpy(one).to(dtype)[None, None], size=shape, mode="trilinear")
            drawn.masked_fill_(values[0, 0] > best, k)
            torch.maximum(best, values[0, 0], out=best)
        return np.asarray(drawn.numpy(), np.uint8)

    tools: dict[str, Tool] = {"isocenter": ours, "running argmax in torch": running}
    rows = compared("class maps to labels", tools, repeats, {"running argmax in torch": 8})
    memory = extra_memory(ours)
    found = ours()
    rows = [r for r in rows if r["name"] != "class maps to labels: isocenter, extra memory"]
    return [
        *rows,
        row("class maps to labels: isocenter, extra memory, labels included", memory, "MB", most=100),
        row("class maps to labels: voxels that differ from torch, whose positions are float32",
            float((found != running()).sum()), ""),
        row("class maps to labels: voxels that differ from torch in float64",
            float((found != running(torch.float64)).sum()), "", most=0),
    ]  # fmt: skip


def labels(repeats: int) -> list[Row]:
    """A label map of five structures to 1.5 mm by shares."""
    drawn = np.digitize(smooth(FINE.shape, 7), (0.3, 0.5, 0.8, 1.2, 1.6)).astype(np.uint8)[None]
    return compared("label map to 1.5 mm", {"isocenter": lambda: resample_labels(drawn, FINE, COARSE)}, repeats, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(usable_cores())
    image = scan()
    rows = [*linear(image, repeats), *shrunk(image, repeats), *cubic(image, repeats)]
    del image
    rows += [*back(class_maps(), repeats), *labels(repeats)]
    for one in rows:
        print(f"{one['name']:80s} {one['value']:10.4g} {one['unit']:15s} {one['spread'] or ''} {one.get('target', '')}")
    write_result(
        "kernels",
        title="Resampling and labels",
        about=f"{FINE.shape} voxels of int16 at 1 x 0.75 x 0.75 mm to {COARSE.shape} at 1.5 mm, and {CLASSES} class"
        f" maps of that size back to labels. Every tool in turn, {repeats} times, {usable_cores()} threads each;"
        " medians, spread from the 10th to the 90th percentile. torch and scikit-image have no interpolation of int16:"
        " their conversion to float32 is part of their time. Memory is the most beside what was there, the result"
        f" included. numba {version('numba')}.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
