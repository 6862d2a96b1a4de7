"""The verb `convert`: every stack of a folder, disc or archive of DICOM to NIfTI, with a JSON file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from isocenter.errors import ConfigError, SeriesError
from isocenter.io.archives import opened
from isocenter.io.dicom import STRICT, GeometryPolicy, Scan, Series, scan_folder
from isocenter.io.files import atomic_folder, check_folder_target, write_json
from isocenter.workflow.conversion import Conversion, ConvertOptions, NotConverted, Work, series_name
from isocenter.workflow.drawn import DRAWN
from isocenter.workflow.filenames import FileNames
from isocenter.workflow.progress import told

if TYPE_CHECKING:
    from isocenter.workflow.progress import Progress

__all__ = ["Conversion", "ConvertOptions", "NotConverted", "convert"]

_SHOWN = 5


def convert(
    path: str | Path,
    *,
    out: str | Path,
    policy: GeometryPolicy = STRICT,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Unpack[ConvertOptions],
) -> Conversion:
    """Convert DICOM to NIfTI.

    Every image is one ``.nii.gz`` and one ``.json`` with the field names of BIDS. Volumes of one series on the same
    voxels that differ in time, cardiac phase or diffusion weighting alone go along the fourth axis of one file; echoes
    and kinds of image get files of their own. Voxels are int16 where that is exact, else float32; rows run from the
    back to the front, as dcm2niix and FSL have them. ``convert.json`` lists what was written, and what was not, with
    the reason.

    Args:
        path: A folder, a disc, an archive (``.zip``, ``.tar``), or one file.
        out: Folder to make; it appears whole or not at all.
        policy: What may be done to slices that are not one regular grid.
        overwrite: Replace a folder that is not empty.
        progress: Told how far it is.
        options: See `ConvertOptions`.

    Raises:
        SeriesError: Nothing there can be converted; the first reasons are named.
        ConfigError: An option that does not fit, or a folder that cannot be written.

    Example:
        >>> import tempfile
        >>> from pydicom.data import get_testdata_file
        >>> out = Path(tempfile.mkdtemp()) / "nii"
        >>> done = convert(get_testdata_file("CT_small.dcm"), out=out)
        >>> done.images[0].files, done.images[0].unit
        (('1_ct.nii.gz', '1_ct.json'), 'HU')
        >>> sorted(p.name for p in out.iterdir())
        ['1_ct.json', '1_ct.nii.gz', 'convert.json']
    """
    check_folder_target(out, overwrite=overwrite)
    with opened(path) as folder:
        scan = scan_folder(folder, progress=told(progress, "reading headers"))
        chosen = _chosen(scan, path, options.get("series", ()))
        names = FileNames(options.get("name"), chosen, anonymous=options.get("anonymous", False))
        with atomic_folder(out, overwrite=overwrite) as aside:
            work = Work(aside, names, policy, options)
            for count, series in enumerate(_images_first(chosen)):
                work.take(series)
                if progress is not None:
                    progress("converting series", count + 1, len(chosen))
            done = work.done(scan, Path(folder), Path(path))
            if not done.images:
                raise SeriesError(f"{path}: nothing could be converted: {_reasons(done)}")
            write_json(aside / "convert.json", done.to_dict())
    return done


def _chosen(scan: Scan, path: str | Path, wanted: Sequence[str]) -> list[Series]:
    if not scan.series:
        damaged = f" ({len(scan.damaged)} damaged)" if scan.damaged else ""
        raise SeriesError(f"{path}: holds no DICOM files{damaged}; give a folder, a .zip or a file of DICOM")
    if not wanted:
        return list(scan.series)
    chosen = [s for s in scan.series if {s.uid, s.headers[0].text("SeriesNumber")} & {*wanted}]
    known = {name for s in scan.series for name in (s.uid, s.headers[0].text("SeriesNumber"))}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        there = ", ".join(sorted({series_name(s) for s in scan.series})[:20])
        raise ConfigError(f"--series {unknown[0]}: {path} holds no such series; it holds {there}")
    return chosen


def _images_first(series: Sequence[Series]) -> list[Series]:
    """What is drawn on images comes after them, since it goes onto their grids."""
    return sorted(series, key=lambda s: s.modality in DRAWN)


def _reasons(done: Conversion) -> str:
    first = [f"{n.what}: {n.reason}" for n in done.refused or done.not_converted]
    more = f"; and {len(first) - _SHOWN} more" if len(first) > _SHOWN else ""
    return "; ".join(first[:_SHOWN]) + more
