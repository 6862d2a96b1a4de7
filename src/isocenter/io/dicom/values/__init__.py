"""Stored pixels to the values they stand for, of every transfer syntax (PS3.3 C.7.6.3, C.11.1; PS3.5 8, A).

Reading is parallel, decoders and file access let other threads run. Slices of 16 bits that are not compressed are
read straight into their place in the volume and changed there.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import SeriesError
from isocenter.io.dicom.values.pixels import Pixels
from isocenter.io.dicom.values.rescale import scale_of, signed_as_pixels
from isocenter.volume.compiled import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header
    from isocenter.io.dicom.values.layout import Layout
    from isocenter.io.dicom.values.rescale import Scale
    from isocenter.volume import Unit

    Job = tuple[list[int], Pixels | None]  # slices that lie in one frame; its file where it has more such frames

__all__ = ["padding_range", "padding_value", "read_slices", "read_stored", "stored_pixels", "value_unit"]

_MAX_THREADS = 8
_PET_UNITS: dict[str, Unit] = {"BQML": "Bq/ml", "GML": "SUVbw"}


def stored_pixels(header: Header) -> NDArray[Any]:
    """Pixels as stored, before any rescale, without unused bits: of a file, of a frame, of a tile of a mosaic.

    Integers, or floats where the file has Float Pixel Data; ``(rows, columns)``.

    Raises:
        FileFormatError: They are absent, truncated or damaged, or there is no decoder for them.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom.header import read_header
        >>> stored = stored_pixels(read_header(get_testdata_file("MR_small_RLE.dcm")))
        >>> stored.shape, stored.dtype.name, int(stored[10, 20])
        ((64, 64), 'int16', 316)
    """
    return _cut(Pixels(header).frame(header.frame or 0), header)


def _cut(frame: NDArray[Any], header: Header) -> NDArray[Any]:
    if header.tile is None:
        return frame
    top, bottom, left, right = header.tile
    return frame[top:bottom, left:right]


def read_slices(headers: Sequence[Header]) -> NDArray[Any]:
    """Values of all slices, ``(slice, row, column)``.

    int16 where every slope is 1, every intercept whole, and all values fit; else float32, each value the stored one
    times slope plus intercept in double, rounded once. A frame in which several slices lie is decoded once.

    Raises:
        FileFormatError: Pixels are absent, truncated or damaged.
        SeriesError: A slope, an intercept or a table cannot be read; images differ in size.
    """
    sizes = {(h.integer("Rows"), h.integer("Columns")) for h in headers}
    if len(sizes) != 1:
        raise SeriesError(
            f"{headers[0].file if headers else 'no files'}: {len(sizes)} sizes of image in one volume; separate them"
        )
    shape = (len(headers), *sizes.pop())
    scales = [scale_of(h) for h in headers]
    jobs = _jobs(headers)
    if all(scale.whole for scale in scales):
        whole = np.empty(shape, np.int16)
        if _each(jobs, lambda job: _whole_slices(headers, scales, job, whole)):
            return whole
        del whole
    out = np.empty(shape, np.float32)
    _each(jobs, lambda job: _float_slices(headers, scales, job, out))
    return out


def read_stored(headers: Sequence[Header]) -> list[NDArray[Any]]:
    """`stored_pixels` of all slices; a frame in which several lie is decoded once.

    Raises:
        FileFormatError: See `stored_pixels`.
    """
    found: dict[int, NDArray[Any]] = {}

    def read(job: Job) -> bool:
        frame = _frame(headers, job)[0]
        found.update({z: _cut(frame, headers[z]) for z in job[0]})
        return True

    _each(_jobs(headers), read)
    return [found[z] for z in range(len(headers))]


def _jobs(headers: Sequence[Header]) -> list[Job]:
    files: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for z, header in enumerate(headers):
        files[header.file][header.frame or 0].append(z)
    jobs: list[Job] = []
    for frames in files.values():
        shared = None
        if len(frames) > 1:  # found once: the walk over fragments, an inflated file
            shared = Pixels(headers[next(iter(frames.values()))[0]], frames=len(frames))
        jobs += [(slices, shared) for slices in frames.values()]
    return jobs


def _each(jobs: Sequence[Job], work: Callable[[Job], bool]) -> bool:
    """Whether ``work`` said yes to every job. Jobs write to different places, so threads may share them."""
    threads = min(_MAX_THREADS, usable_cores() + 2, len(jobs))  # some wait for the disk
    if threads == 1:
        return work(jobs[0])
    with ThreadPoolExecutor(threads) as pool:
        return all(pool.map(work, jobs))


def _frame(headers: Sequence[Header], job: Job, out: NDArray[Any] | None = None) -> tuple[NDArray[Any], Layout]:
    slices, shared = job
    header = headers[slices[0]]
    pixels = shared or Pixels(header)
    direct = out is not None and header.tile is None and pixels.layout.allocated == 16
    return pixels.frame(header.frame or 0, out if direct else None), pixels.layout


def _whole_slices(headers: Sequence[Header], scales: Sequence[Scale], job: Job, out: NDArray[np.int16]) -> bool:
    frame, layout = _frame(headers, job, out[job[0][0]])
    # the last first: the frame may have been read into the place of the first
    return all(scales[z].into_int16(_cut(frame, headers[z]), layout.limits, out[z]) for z in reversed(job[0]))


def _float_slices(headers: Sequence[Header], scales: Sequence[Scale], job: Job, out: NDArray[np.float32]) -> bool:
    frame, _ = _frame(headers, job)
    for z in job[0]:
        scales[z].into_float32(_cut(frame, headers[z]), out[z])
    return True


def value_unit(header: Header) -> Unit:
    """What a value means.

    HU for CT unless Rescale Type (0028,1054) or the type of its table says otherwise; what Units (0054,1001) says for
    PET (GML is SUVbw unless SUV Type (0054,1006) names another kind); else arbitrary.
    """
    if header.text("Modality") == "PT" and header.text("SUVType", "BW") == "BW":
        return _PET_UNITS.get(header.text("Units"), "a.u.")
    if header.text("Modality") != "CT":
        return "a.u."
    if "ModalityLUTSequence" in header:
        items = header.tags["ModalityLUTSequence"]
        return "HU" if isinstance(items, tuple) and items[0].get("ModalityLUTType") == "HU" else "a.u."
    rescaled = "RescaleSlope" in header and "RescaleIntercept" in header
    return "HU" if rescaled and header.text("RescaleType", "HU") == "HU" else "a.u."


def padding_value(header: Header) -> float | None:
    """Value, after rescale, of pixels outside the field of view: Pixel Padding Value (0028,0120)."""
    stored = _stored_padding(header, "PixelPaddingValue")
    return None if stored is None else scale_of(header).value(stored)


def padding_range(header: Header) -> tuple[float, float] | None:
    """Least and greatest value, after rescale, of pixels outside the field of view (PS3.3 C.7.5.1.1.2).

    Both ends belong to it; they are equal where there is no Pixel Padding Range Limit (0028,0121).
    """
    stored = _stored_padding(header, "PixelPaddingValue")
    if stored is None:
        return None
    limit = _stored_padding(header, "PixelPaddingRangeLimit")
    scale = scale_of(header)
    ends = scale.value(stored), scale.value(stored if limit is None else limit)
    return min(ends), max(ends)


def _stored_padding(header: Header, keyword: str) -> float | None:
    for name in (keyword, f"Float{keyword}", f"DoubleFloat{keyword}"):
        if name in header:
            number = header.number(name)
            return signed_as_pixels(int(number), header) if name == keyword else number
    return None
