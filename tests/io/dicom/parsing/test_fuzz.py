"""Mutated files: typed errors only, in bounded time and memory."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from tests.io.dicom.parsing import mutations
from tests.io.dicom.pixel_files import ENCODERS, NATIVE, numbers, pixel_file

from isocenter.errors import IsocenterError
from isocenter.io.dicom import find_series, read_seg_labels, seg_header, write_seg
from isocenter.io.dicom.rtstruct import rtstruct_header
from isocenter.io.dicom.values.realworld import real_world_maps
from isocenter.io.dicom.values.suv import suv_factors
from isocenter.records import Code, LabelSchema, Structure
from isocenter.volume import Volume

SEED = 20_000_000
ALGORITHM = {"algorithm_name": "Test", "algorithm_version": "1"}
SECONDS, MEGABYTES = 10.0, 512
BUNDLED = (
    *("MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"),
    *("MR_small_jpeg_ls_lossless", "MR_truncated", "JPEG2000", "JPEG-lossy", "JPGExtended", "693_J2KI", "image_dfl"),
    *("SC_rgb_jpeg", "SC_rgb_rle", "SC_rgb_small_odd", "rtdose", "rtdose_rle", "rtplan", "rtstruct", "test-SR"),
    *("reportsi", "UN_sequence", "priv_SQ", "nested_priv_SQ", "no_meta_group_length", "JPEGLSNearLossless_16"),
    *("ExplVR_LitEndNoMeta", "badVR", "SC_ybr_full_422_uncompressed"),
)


def _placed(ds: Dataset) -> None:
    ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [1, 2, 3], [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 2, 1, -1024, "HU"


def _enhanced(ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality, ds.ImageType = "1.2.840.10008.5.1.4.1.1.4.1", "MR", ["ORIGINAL", "PRIMARY", "M", "ND"]
    each = []
    for n in range(int(ds.NumberOfFrames)):
        item, content, place, turn, size = (Dataset() for _ in range(5))
        content.DimensionIndexValues, place.ImagePositionPatient = [1, n + 1], [0, 0, 2.0 * n]
        turn.ImageOrientationPatient, size.PixelSpacing, size.SliceThickness = [1, 0, 0, 0, 1, 0], [1, 1], 2
        item.FrameContentSequence, item.PlanePositionSequence = [content], [place]
        item.PlaneOrientationSequence, item.PixelMeasuresSequence = [turn], [size]
        each.append(item)
    ds.PerFrameFunctionalGroupsSequence = each


def _mosaic(ds: Dataset) -> None:
    _placed(ds)
    ds.SOPClassUID, ds.Modality, ds.ImageType = (
        "1.2.840.10008.5.1.4.1.1.4",
        "MR",
        ["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
    )
    ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 4)
    name = b"SliceNormalVector".ljust(64, b"\0")
    items = b"".join(np.array([2, 2, 2, 2], "<i4").tobytes() + v + b"\0\0" for v in (b"0\0", b"0\0", b"1\0"))
    csa = b"SV10\4\3\2\1" + np.array([1, 77], "<i4").tobytes() + name + np.array([3], "<i4").tobytes() + b"FD\0\0"
    csa += np.array([0, 3, 77], "<i4").tobytes() + items
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)


def _pet(ds: Dataset) -> None:
    _placed(ds)
    ds.SOPClassUID, ds.Modality, ds.Units, ds.RescaleType = "1.2.840.10008.5.1.4.1.1.128", "PT", "BQML", "BQML"
    ds.CorrectedImage, ds.DecayCorrection, ds.PatientWeight = ["ATTN", "DECY"], "START", 70
    ds.SeriesDate = ds.AcquisitionDate = "20200101"
    ds.SeriesTime = ds.AcquisitionTime = "120000"
    agent = Dataset()
    agent.RadionuclideTotalDose, agent.RadionuclideHalfLife, agent.RadiopharmaceuticalStartTime = 3e8, 6586.2, "110000"
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 4095
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 0.0
    ds.RadiopharmaceuticalInformationSequence, ds.RealWorldValueMappingSequence = [agent], [mapping]


def _segmentation(folder: Path) -> Path:
    image = folder / "image.dcm"
    pixel_file(image, numbers((1, 12, 10), "u2", bits=12), "1.2.840.10008.1.2.1", stored=12, edit=_for_seg)
    (series,) = find_series(image)
    grid = series.stack().grid()
    masks = (np.arange(120).reshape(1, 1, 12, 10) % 3 == 0).astype(np.uint8)
    schema = LabelSchema((Structure("liver", (1,), code=Code("10200004", "SCT", "Liver")),))
    write_seg(folder / "seg.dcm", Volume(masks, grid, "label"), schema, source=series.stack(), **ALGORITHM)
    return folder / "seg.dcm"


def _for_seg(ds: Dataset) -> None:
    _placed(ds)
    del ds.NumberOfFrames
    ds.PatientName = ds.PatientID = ds.StudyDate = ds.StudyTime = ds.PatientSex = ds.PatientBirthDate = ""
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ds.Manufacturer = ds.PositionReferenceIndicator = ""
    ds.FrameOfReferenceUID, ds.SeriesNumber, ds.InstanceNumber, ds.Laterality = generate_uid(), 1, 1, ""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """More than 60 small valid files of all kinds."""
    folder = tmp_path_factory.mktemp("seeds")
    path = folder / "a.dcm"
    found = [Path(str(get_testdata_file(f"{name}.dcm"))).read_bytes() for name in BUNDLED]

    def made(*args: Any, **kwargs: Any) -> None:
        pixel_file(path, *args, **kwargs)
        found.append(path.read_bytes())

    for syntax in (*NATIVE, *ENCODERS):
        made(numbers((1, 24, 20), "u2", bits=12), syntax, stored=12, edit=_placed)
        made(numbers((3, 16, 20), "u1"), syntax, edit=_enhanced)
    made(numbers((1, 24, 24), "u2"), NATIVE[1], edit=_mosaic)
    made(numbers((1, 24, 24), "u2"), NATIVE[0], edit=_pet)
    made(numbers((2, 9, 7), "f4"), NATIVE[1], edit=_enhanced)
    made(numbers((2, 9, 7), "u1") > 100, NATIVE[1], edit=_enhanced)
    found.append(_segmentation(folder).read_bytes())
    assert all(mutations.draft(raw).bytes()[:400] == raw[:400] or mutations.draft(raw).deflated for raw in found)
    return found


def _use(path: Path) -> int:
    """Everything that reads a file; how many of its stacks could be read."""
    read = 0
    for series in find_series(path):
        try:
            stacks = series.stacks()
        except IsocenterError:
            continue
        reads: list[Callable[[], Any]] = []
        for stack in stacks:
            reads += [stack.problems, stack.values, lambda stack=stack: suv_factors(stack.headers)]
            reads += [lambda stack=stack: [real_world_maps(h) for h in stack.headers[:3]], stack.volume]
        if series.modality == "SEG":
            reads += [lambda: seg_header(path), lambda: read_seg_labels(path)]
        if series.modality == "RTSTRUCT":
            reads.append(lambda: rtstruct_header(path))
        for ask in reads:
            try:
                ask()
            except IsocenterError as error:
                assert "\n" not in str(error)  # noqa: PT017
            else:
                read += 1
    return read


class _Peak:
    """Resident memory at its highest since the last reset, in megabytes, above what it was then."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        with contextlib.suppress(OSError):  # elsewhere the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._read()

    def _read(self) -> float:
        try:
            status = Path("/proc/self/status").read_text()
        except OSError:
            return 0.0
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def grown(self) -> float:
        return self._read() - self._before


def _fuzz(seeds: list[bytes], numbers: range, folder: Path) -> int:
    path = folder / "mutated.dcm"
    for raw in seeds:  # warm: caches and libraries are no growth
        path.write_bytes(raw)
        _use(path)
    peak, read = _Peak(), 0
    for number in numbers:
        path.write_bytes(mutations.mutated(seeds[number % len(seeds)], SEED + number))
        began = time.perf_counter()
        try:
            read += _use(path) > 0
        except Exception as error:
            kept = path.rename(folder / f"mutation{number}.dcm")
            raise AssertionError(f"mutation {number} of seed {number % len(seeds)} ({kept}): {error!r}") from error
        took = time.perf_counter() - began
        assert took < SECONDS, f"mutation {number} of seed {number % len(seeds)} took {took:.1f} s"
        if number % 25 == 0 or number == numbers[-1]:
            assert peak.grown() < MEGABYTES, f"mutations up to {number}: {peak.grown():.0f} MB more in use"
            peak.reset()
    return read


def test_seeds_are_read(seeds: list[bytes], tmp_path: Path) -> None:
    assert len(seeds) >= 30
    path, read = tmp_path / "a.dcm", 0
    for raw in seeds:
        path.write_bytes(raw)
        read += _use(path) > 0
    assert read > len(seeds) // 2  # the others are no images, or have no place


@pytest.mark.parametrize("chunk", range(4))
def test_two_thousand_mutations(seeds: list[bytes], tmp_path: Path, chunk: int) -> None:
    read = _fuzz(seeds, range(chunk * 500, chunk * 500 + 500), tmp_path)
    assert 50 < read < 450  # neither harmless nor hopeless


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(10))
def test_a_hundred_thousand_mutations(seeds: list[bytes], tmp_path: Path, chunk: int) -> None:
    _fuzz(seeds, range(10_000 * (chunk + 1), 10_000 * (chunk + 2)), tmp_path)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: 1 / 0, r"mutation 30 of seed 0 .*ZeroDivisionError"),
        (lambda: time.sleep(0.7) or 1, r"mutation 30 of seed 0 took 0\.\d s"),
        (lambda: np.ones(1 << 23).sum(), r"mutations up to 39: \d\d MB more"),
    ],
)
def test_what_is_watched_for_is_seen(
    seeds: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], Any], words: str
) -> None:
    here, calls = sys.modules[__name__], iter(range(1000))
    monkeypatch.setattr(here, "SECONDS", 0.5)
    monkeypatch.setattr(here, "MEGABYTES", 40)
    # the first ten are the seeds themselves
    monkeypatch.setattr(here, "_use", lambda path: 1 if next(calls) != 40 else fault() and 1)
    with pytest.raises(AssertionError, match=words):
        _fuzz(seeds[:10], range(40), tmp_path)


def test_mutations_are_the_same_each_time(seeds: list[bytes]) -> None:
    for number in range(60):
        raw = seeds[number % len(seeds)]
        assert mutations.mutated(raw, number) == mutations.mutated(raw, number)
    changed = sum(mutations.mutated(seeds[n % len(seeds)], n) != seeds[n % len(seeds)] for n in range(200))
    assert changed > 170
