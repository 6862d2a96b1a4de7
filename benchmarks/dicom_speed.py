"""Speed of reading a CT series: Isocenter against a loop over pydicom, SimpleITK, MONAI and dcm2niix.

Every tool goes from a folder of files to rescaled values in their places, in turn, from a warm file cache; dcm2niix is
a program that writes a file, uncompressed and into memory. Each runs as it comes: with as many threads as it takes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from _dicom.full_size import series, write
from common import row, write_result
from numpy.typing import NDArray
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from isocenter.io.dicom import find_series

SYNTAXES: dict[str, UID] = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG 2000 lossless": JPEG2000Lossless,
}
TARGETS = {"uncompressed": {"pydicom's loop": 2.0, "SimpleITK": 1.0, "dcm2niix": 1.0}}
Tool = Callable[[Path], Any]


def ours(folder: Path) -> NDArray[Any]:
    (found,) = find_series(folder)
    array: NDArray[Any] = found.stack().volume().array[0]
    return array


def pydicom_loop(folder: Path) -> NDArray[np.float32]:
    slices = sorted((pydicom.dcmread(f) for f in folder.iterdir()), key=lambda ds: float(ds.ImagePositionPatient[2]))
    return np.stack(
        [ds.pixel_array.astype(np.float32) * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices]
    )


def simpleitk(folder: Path) -> NDArray[Any]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    array: NDArray[Any] = sitk.GetArrayViewFromImage(reader.Execute())
    return array


def monai(folder: Path) -> NDArray[Any]:
    from monai.data.image_reader import PydicomReader

    reader = PydicomReader()
    array: NDArray[Any] = reader.get_data(reader.read(str(folder)))[0]
    return array


def dcm2niix(program: str) -> Tool:
    def convert(folder: Path) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - a RAM disk is what is wanted
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as out:
            subprocess.run([program, "-z", "n", "-b", "n", "-o", out, str(folder)], check=True, capture_output=True)
            if not list(Path(out).glob("*.nii")):
                raise RuntimeError("dcm2niix wrote no file")

    return convert


def tools(program: str | None) -> dict[str, Tool]:
    found: dict[str, Tool] = {"isocenter": ours, "pydicom's loop": pydicom_loop, "SimpleITK": simpleitk}
    if program is not None:
        found["dcm2niix"] = dcm2niix(program)
    return found | {"MONAI PydicomReader": monai}


def alternate(tools: Mapping[str, Tool], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of every tool, one after the other, so many times; a first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in tools}
    for number in range(rounds + 1):
        for name, tool in tools.items():
            start = time.perf_counter()
            tool(folder)
            if number:
                taken[name].append(time.perf_counter() - start)
    return taken


def spread(values: list[float]) -> list[float]:
    low, high = np.percentile(values, (10, 90))
    return [float(low), float(high)]


def compared(what: str, taken: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Seconds of Isocenter, and how many times as long each other takes."""
    mine = taken["isocenter"]
    rows = [row(f"{what}: isocenter", float(np.median(mine)), "s", spread=spread(mine))]
    for name, other in taken.items():
        if name == "isocenter":
            continue
        ratio = float(np.median(other) / np.median(mine))
        ratios = [a / b for a, b in zip(other, mine, strict=True)]
        least = TARGETS.get(what, {}).get(name)
        rows.append(row(f"{what}: {name} takes", ratio, "times as long", spread=spread(ratios), least=least))
    return rows


def program_of(python: Path | None) -> str | None:
    """dcm2niix beside an interpreter, or on the path."""
    beside = None if python is None else python.parent / "dcm2niix"
    return str(beside) if beside is not None and beside.exists() else shutil.which("dcm2niix")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", type=Path, help="interpreter beside which dcm2niix lies")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rounds-compressed", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="write no result")
    args = parser.parse_args()
    program = program_of(args.peer_python)
    if program is None:
        print("dcm2niix is left out: it is neither on the path nor beside --peer-python")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for what, syntax in SYNTAXES.items():
            folder = Path(temporary, what.split()[0])
            write(folder, series(args.slices), syntax)
            size = next(folder.iterdir()).stat().st_size
            print(f"{what}: {args.slices} files of some {size / 1e3:.0f} kB")
            if not np.array_equal(ours(folder), pydicom_loop(folder)):
                raise SystemExit(f"{what}: values differ from pydicom's")
            rounds = args.rounds if syntax == ExplicitVRLittleEndian else args.rounds_compressed
            rows += compared(what, alternate(tools(program), folder, rounds))
            shutil.rmtree(folder)
    for one in rows:
        print(f"{one['name']:60s} {one['value']:10.4g} {one['unit']:15s} {one['spread'] or ''} {one.get('target', '')}")
    if not args.dry:
        write_result("dicom_speed", title="Speed of reading DICOM", about=about(args, program), rows=rows)


def about(args: argparse.Namespace, program: str | None) -> str:
    """What was compared."""
    words = "" if program is None else subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    others = f", dcm2niix {words.split()[-1]}" if words else "; dcm2niix is left out, it was not at hand"
    return (
        f"A folder of {args.slices} CT slices of 512 x 512 with headers of some 200 elements and 10 kB, to rescaled"
        f" values in their places; warm file cache, tools in turn, {args.rounds} rounds uncompressed and"
        f" {args.rounds_compressed} compressed, medians, spread from the 10th to the 90th percentile. Each tool uses as"
        f" many threads as it takes by itself. pydicom {version('pydicom')}, SimpleITK {version('SimpleITK')}, MONAI"
        f" {version('monai')}{others}. RLE and JPEG 2000 are decoded by what each tool brings or finds."
    )


if __name__ == "__main__":
    main()
