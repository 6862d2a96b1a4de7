"""How each reader is asked for what is in a path: as its documentation shows, series by series where it lists them.

This file runs in the interpreter of the reader, so nothing but numpy is imported before it is needed.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["READERS", "Given", "version_of"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Given:
    """What a reader gave.

    Attributes:
        volumes: Array of three axes, and affine from its indices to LPS mm.
        sheets: Array ``(n, rows, columns)`` with position, directions across and down, and spacing of each slice.
        refused: Class of the error, codes, text.
        aside: Files that were left out and told of, with the reason.
        crashed: Errors that are no refusal.
        resampled: Volumes under the policy that allows to resample, where the strict one gave none or a sheared one.
    """

    volumes: list[tuple[Any, Any]] = field(default_factory=list)
    sheets: list[tuple[Any, ...]] = field(default_factory=list)
    refused: list[tuple[str, list[str], str]] = field(default_factory=list)
    aside: list[tuple[str, str]] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    resampled: list[tuple[Any, Any]] = field(default_factory=list)

    def refuse(self, error: Exception, codes: list[str] | None = None) -> None:
        """An error that was raised instead of a volume."""
        self.refused.append((type(error).__name__, codes or [], str(error).replace("\n", " ")[:300]))


def _isocenter(path: str, given: Given) -> None:
    from isocenter.errors import IsocenterError
    from isocenter.io.dicom import scan_folder

    try:
        scan = scan_folder(path)
    except IsocenterError as error:
        given.refuse(error)
        return
    given.refused += [("FileFormatError", ["damaged-file"], text) for text in scan.damaged.values()]
    given.refused += [("", ["ignored"], "not DICOM") for _ in scan.ignored]
    for series in scan.series:
        try:
            stacks = series.stacks()
            given.aside += [(a.file, a.reason) for a in series.aside]
        except IsocenterError as error:
            given.refuse(error)
            continue
        for stack in stacks:
            _isocenter_stack(stack, given)


def _isocenter_stack(stack: Any, given: Given) -> None:
    from isocenter.errors import FileFormatError, IsocenterError
    from isocenter.io.dicom import GeometryPolicy

    codes = [p.code for p in stack.problems()]
    sheared = False
    try:
        volume = stack.volume()
        sheared = stack.grid(GeometryPolicy(tilt="rectify")) != volume.grid
        if not any(flag.startswith("a projection without a place") for flag in stack.flags()):
            given.volumes.append((volume.array[0], volume.grid.affine))
        if codes:
            given.crashed.append(f"volume() of a stack with problems {codes}")
    except IsocenterError as error:
        given.refuse(error, codes or (["damaged-file"] if isinstance(error, FileFormatError) else []))
    try:
        values = stack.values()
    except IsocenterError as error:
        if not codes:
            given.refuse(error)
    else:
        given.sheets.append((values, *_places(stack)))
    if sheared or {"variable-spacing", "missing-slice"} & set(codes):
        try:
            volume = stack.volume(GeometryPolicy(tilt="rectify", spacing="resample", missing="fill"))
            given.resampled.append((volume.array[0], volume.grid.affine))
        except IsocenterError as error:
            given.refuse(error, ["not-resampled"])


def _places(stack: Any) -> tuple[Any, ...]:
    """Of every slice; nowhere where none is stated."""
    from isocenter.errors import IsocenterError

    try:
        planes = stack.planes
    except IsocenterError:
        return tuple(np.full((len(stack), n), np.nan) for n in (3, 3, 3, 2))
    return planes.position, planes.across, planes.down, planes.spacing


def _simpleitk(path: str, given: Given) -> None:
    sitk: Any = importlib.import_module("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageSeriesReader()
    folders = [] if os.path.isfile(path) else [folder for folder, _, _ in os.walk(path)]
    lists = [reader.GetGDCMSeriesFileNames(f, uid) for f in folders for uid in reader.GetGDCMSeriesIDs(f)] or [(path,)]
    for files in lists:
        try:
            reader.SetFileNames(files)
            image = reader.Execute() if len(files) > 1 else sitk.ReadImage(files[0])
        except RuntimeError as error:
            given.refuse(error)
            continue
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            given.refused.append(("", [], f"an image of {image.GetDimension()} dimensions"))
            continue
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        given.volumes.append((sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine))


def _monai(name: str) -> Callable[[str, Given], None]:
    def read(path: str, given: Given) -> None:
        readers: Any = importlib.import_module("monai.data.image_reader")
        try:
            reader = getattr(readers, name)()
            array, meta = reader.get_data(reader.read(path))
            _split(given, np.asarray(array), np.asarray(meta["affine"], float))
        except Exception as error:
            given.refuse(error)

    return read


def _highdicom(path: str, given: Given) -> None:
    highdicom: Any = importlib.import_module("highdicom")
    pydicom: Any = importlib.import_module("pydicom")
    series: dict[str, list[Any]] = {}
    files = [path] if os.path.isfile(path) else [os.path.join(f, n) for f, _, names in os.walk(path) for n in names]
    for file in files:
        try:
            ds = pydicom.dcmread(file)
            ds.PixelData  # noqa: B018 - only images
        except (pydicom.errors.InvalidDicomError, AttributeError):
            continue
        series.setdefault(str(ds.get("SeriesInstanceUID")), []).append(ds)
    for datasets in series.values():
        try:
            if "PerFrameFunctionalGroupsSequence" in datasets[0]:
                found = [highdicom.imread(ds.filename).get_volume() for ds in datasets]
            else:
                found = [highdicom.get_volume_from_series(datasets)]
        except Exception as error:
            given.refuse(error)
            continue
        given.volumes += [(v.array, v.affine) for v in found]
    if not series:
        given.refused.append(("", [], "no images"))


def _split(given: Given, array: Any, affine: Any) -> None:
    """A NIfTI's array in RAS; further axes are volumes of their own."""
    if array.ndim == 2:
        array = array[..., None]
    if affine.shape != (4, 4) or array.ndim > 5 or array.dtype.names:
        given.refused.append(("", [], f"no volume: {array.shape}"))
        return
    flat = array.reshape(*array.shape[:3], -1)
    given.volumes += [(flat[..., k], RAS_TO_LPS @ affine) for k in range(flat.shape[-1])]


def _nifti(given: Given, folder: str) -> None:
    nibabel: Any = importlib.import_module("nibabel")
    found = sorted(Path(folder).rglob("*.nii*"))
    for file in found:
        image = nibabel.load(file)
        raw = np.asanyarray(image.dataobj)
        _split(given, raw if raw.dtype.names else raw.astype(np.float64), image.affine)
    if not found:
        given.refused.append(("", [], "no NIfTI file was written"))


def _dicom2nifti(path: str, given: Given) -> None:
    convert: Any = importlib.import_module("dicom2nifti")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as copy:
        if os.path.isfile(path):
            shutil.copy(path, copy)
        try:
            convert.convert_directory(copy if os.path.isfile(path) else path, folder, compression=False)
        except Exception as error:
            given.refuse(error)
            return
        _nifti(given, folder)


def _dcm2niix_program() -> str:
    beside = Path(sys.executable).parent / "dcm2niix"
    found = str(beside) if beside.exists() else shutil.which("dcm2niix")
    if found is None:
        raise ImportError("no program dcm2niix")
    return found


def _dcm2niix(path: str, given: Given) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as copy:
        if os.path.isfile(path):
            shutil.copy(path, copy)
        # -p n: of Philips' two scales the one of the standard's elements, which is the truth here
        command = [_dcm2niix_program(), "-z", "n", "-b", "n", "-p", "n", "-f", "%s_%p_%d", "-o", folder]
        done = subprocess.run(
            [*command, copy if os.path.isfile(path) else path], capture_output=True, text=True, check=False
        )
        if done.returncode < 0:
            given.crashed.append(f"dcm2niix ended by signal {-done.returncode}")
            return
        _nifti(given, folder)


READERS: dict[str, tuple[str, Callable[[str, Given], None]]] = {
    "isocenter": ("isocenter", _isocenter),
    "SimpleITK": ("SimpleITK", _simpleitk),
    "MONAI PydicomReader": ("monai", _monai("PydicomReader")),
    "MONAI ITKReader": ("itk", _monai("ITKReader")),
    "highdicom": ("highdicom", _highdicom),
    "dicom2nifti": ("dicom2nifti", _dicom2nifti),
    "dcm2niix": ("dcm2niix", _dcm2niix),
}
"""Name in tables: the package that it stands or falls with, and what reads."""


def version_of(name: str) -> str:
    """Version of a reader; ImportError where it is not at hand."""
    package = READERS[name][0]
    if package != "dcm2niix":
        importlib.import_module(package)
        return version(package)
    words = subprocess.run([_dcm2niix_program(), "--version"], capture_output=True, text=True, check=False).stdout
    return words.split()[-1] if words else "?"
