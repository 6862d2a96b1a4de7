"""Files that ask for more than they are: each is refused by name, within 64 MB and seconds."""

from __future__ import annotations

import io
import json
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from tests.io.dicom.pixel_files import DEFLATED, EXPLICIT, J2K, RLE, numbers, pixel_file

MEGABYTES, SECONDS = 64, 10.0
MIB = bytes(1 << 20)

# Reads every path of its standard input as `isocenter` would, and says what became of it.
PROGRAM = """
import json, sys, time
from pathlib import Path
from isocenter.errors import IsocenterError
from isocenter.io.archives import opened
from isocenter.io.dicom import scan_folder
from isocenter.io.dicom.header import read_header

def use(path):
    with opened(path) as folder:
        scan = scan_folder(folder)
        for series in scan.series:
            for stack in series.stacks():
                for problem in stack.problems():
                    raise problem.error()
                stack.values()
        return {"damaged": list(scan.damaged.values()), "series": len(scan.series)}

def memory(name):  # ru_maxrss would be that of the process that started this one, where it is higher
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

base, seen = 0, []
sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == "open" else None)
for line in sys.stdin:
    told, path = json.loads(line)
    if told.startswith("harmless"):
        base = 0
    elif not base:
        base = memory("VmRSS")  # every library is loaded
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    seen.clear()
    began = time.perf_counter()
    found = {"error": "", "text": "", "damaged": [], "series": 0}
    try:
        found |= use(path)
    except Exception as error:
        found |= {"error": type(error).__name__, "text": str(error), "typed": isinstance(error, IsocenterError)}
    found |= {"name": told, "seconds": time.perf_counter() - began, "opened": seen[:]}
    found["megabytes"] = memory("VmHWM") - base
    print(json.dumps(found))
"""


def _explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    size = len(value) if length is None else length
    return (
        head + (struct.pack("<HI", 0, size) if vr in (b"OB", b"OW", b"SQ", b"UT") else struct.pack("<H", size)) + value
    )


START = _explicit(0x00080060, b"CS", b"CT") + _explicit(0x0020000E, b"UI", b"1.2\0")
OPEN = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
CLOSE = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)


def _file(path: Path, data: bytes, syntax: str = EXPLICIT) -> Path:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    path.write_bytes(bytes(128) + b"DICM" + _explicit(0x00020010, b"UI", uid) + data)
    return path


def _deflate(start: bytes, block: bytes, count: int) -> bytes:
    """``start`` and ``count`` times ``block``, deflated at 1000 to 1, without the time that this takes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    # nothing before a full flush is referred to afterwards, so what follows may be repeated
    return head + (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * count + b"\3\0"


def _placed(ds: Dataset) -> None:
    del ds.NumberOfFrames
    ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [1, 2, 3], [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    ds.SliceThickness = 2


def _large(rows: int, columns: int, frames: int = 0) -> Any:
    def edit(ds: Dataset) -> None:
        _placed(ds)
        ds.Rows, ds.Columns = rows, columns
        if frames:
            ds.NumberOfFrames = frames

    return edit


def _image(path: Path, syntax: str, edit: Any) -> Path:
    pixel_file(path, numbers((1, 64, 64), "u2"), syntax, edit=edit)
    return path


def _nested(tag: int, *, undefined: bool) -> bytes:
    if undefined:
        return (_explicit(tag, b"SQ", OPEN, 0xFFFFFFFF)) * 3000 + CLOSE * 3000
    inner = b""
    for _ in range(3000):
        inner = _explicit(tag, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner)
    return inner


def _enhanced(ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality, ds.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.4.1", "MR", 2_000_000_000
    ds.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset()]


def _zip(path: Path, name: str, data: bytes, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data)
    return path


def _zip_bomb(path: Path) -> Path:
    packed, size = _deflate(b"", MIB, 1000), 1000 << 20
    entry = struct.pack("<5H3L2H", 20, 0, 8, 0, 0, 0, len(packed), size, 1, 0)
    directory = b"PK\1\2\x14\0" + entry + struct.pack("<3H2L", 0, 0, 0, 0, 0) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 31 + len(packed), 0)
    path.write_bytes(b"PK\3\4" + entry + b"a" + packed + directory + end)
    return path


def _tar_bomb(path: Path) -> Path:
    info = tarfile.TarInfo("zeros")
    info.size = 1000 << 20
    path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + _deflate(info.tobuf(), MIB, 1000) + bytes(8))
    return path


def _many_files(path: Path) -> Path:
    """A directory of 60,000 files in which none has content."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 60_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 4, 0)
    path.write_bytes(b"PK\3\4" + entry * count + end)
    return path


def _bombs(folder: Path) -> dict[str, tuple[Path, str, str]]:
    """Files with the error that each has to give and words of it."""
    giga = _explicit(0x00111001, b"OB", length=0xFFFFFFF0)
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as archive:
        info = tarfile.TarInfo("link.dcm")
        info.type, info.linkname = tarfile.SYMTYPE, str(folder / "secret.dcm")
        archive.addfile(info)
    (folder / "link.tar").write_bytes(link.getvalue())
    damaged, frames = "damaged", 0x52009230
    return {
        "deflated element": (
            _file(folder / "a", _deflate(START + giga, MIB, 600), DEFLATED), damaged, "before the pixels"),
        "deflated pixels": (
            _image(folder / "b", DEFLATED, _large(17_000, 18_000)), "SeriesError", "17000 x 18000"),
        "4 GiB passed over": (
            _file(folder / "c", (START + giga).ljust(500, b"\0")), damaged, "declares 4294967280 bytes"),
        "4 GiB kept": (
            _file(folder / "d", START + _explicit(0x0008103E, b"UT", b"x" * 300, 0xFFFFFFF0)), damaged, "0008,103E"),
        "3000 sequences": (
            _file(folder / "e", START + _nested(0x00081140, undefined=True)), damaged, "more than 32 sequences"),
        "3000 sequences that are kept": (
            _file(folder / "f", START + _nested(0x00409096, undefined=True)), damaged, "more than 16 sequences"),
        "3000 sequences of known length": (
            _file(folder / "g", START + _nested(0x00409096, undefined=False)), damaged, "more than 16 sequences"),
        "RLE 65535 x 65535": (_image(folder / "h", RLE, _large(65535, 65535)), "SeriesError", "65535 x 65535"),
        "JPEG 2000 65535 x 65535": (_image(folder / "i", J2K, _large(65535, 65535)), "SeriesError", "65535 x 65535"),
        "2e9 frames": (
            _image(folder / "j", EXPLICIT, _large(64, 64, 2_000_000_000)), "SeriesError", "2000000000"),
        "2e9 functional groups": (_image(folder / "k", EXPLICIT, _enhanced), "SeriesError", "2000000000"),
        "elements without end": (
            _file(folder / "l", _deflate(START, _explicit(0x00111001, b"US") * (1 << 17), 600), DEFLATED),
            damaged, "before the pixels"),
        "elements": (
            _file(folder / "m", START + _explicit(0x00111001, b"US") * 4_100_000), damaged, "4000000 elements"),
        "items": (
            _file(folder / "n", START + _explicit(frames, b"SQ", length=0xFFFFFFFF)
                  + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000), damaged, "memory"),
        "numbers": (
            _file(folder / "o", START + _explicit(0x00189087, b"UT", b"1\\" * 1_900_000)), damaged, "memory"),
        "zip slip": (_zip(folder / "p.zip", "../../escaped.dcm", b"x"), "FileFormatError", "leads out"),
        "absolute name": (_zip(folder / "q.zip", "/escaped.dcm", b"x"), "FileFormatError", "leads out"),
        "zip bomb": (_zip_bomb(folder / "r.zip"), "FileFormatError", "are allowed"),
        "zip directory": (_many_files(folder / "s.zip"), "FileFormatError", "more than 50000 files"),
        "symlink in zip": (
            _zip(folder / "t.zip", "l.dcm", b"/etc/passwd", stat.S_IFLNK | 0o777), "FileFormatError", "is a link"),
        "symlink in tar": (folder / "link.tar", "FileFormatError", "is a link"),
        "gzip bomb": (_tar_bomb(folder / "u.tar.gz"), "FileFormatError", "are allowed"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bombs")
    harmless = {
        f"harmless {syntax}": _image(folder / f"harmless{n}", syntax, _placed)
        for n, syntax in enumerate((EXPLICIT, DEFLATED, RLE, J2K))
    }
    harmless["harmless zip"] = _zip(folder / "harmless.zip", "a", harmless[f"harmless {EXPLICIT}"].read_bytes())
    bombs = _bombs(folder)
    given = "".join(json.dumps((name, str(path))) + "\n" for name, path in harmless.items())
    given += "".join(json.dumps((name, str(bomb[0]))) + "\n" for name, bomb in bombs.items())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=given, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {o["name"]: o for o in map(json.loads, done.stdout.splitlines())}
    for name in harmless:  # which also loads every library that the bombs need
        assert (found[name]["error"], found[name]["series"]) == ("", 1), found[name]
    for name, (_, error, words) in bombs.items():
        found[name] |= {"expected": error, "words": words}
    return found


BOMBS = [
    *("deflated element", "deflated pixels", "4 GiB passed over", "4 GiB kept", "3000 sequences"),
    *("3000 sequences that are kept", "3000 sequences of known length", "RLE 65535 x 65535"),
    *("JPEG 2000 65535 x 65535", "2e9 frames", "2e9 functional groups", "elements without end", "elements", "items"),
    *("numbers", "zip slip", "absolute name", "zip bomb", "zip directory", "symlink in zip", "symlink in tar"),
    *("gzip bomb",),
]


@pytest.mark.parametrize("name", BOMBS)
def test_refused_by_name_within_bounds(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    found = outcomes[name]
    if found["expected"] == "damaged":
        assert len(found["damaged"]) == 1, found
        text = found["damaged"][0]
    else:
        assert found["error"] == found["expected"], found
        assert found["typed"]
        text = found["text"]
    assert found["words"] in text
    assert "\n" not in text
    assert found["megabytes"] <= MEGABYTES
    assert found["seconds"] <= SECONDS


def test_all_are_tried_and_memory_is_seen(outcomes: dict[str, dict[str, Any]]) -> None:
    assert {name for name in outcomes if not name.startswith("harmless")} == set(BOMBS)
    assert max(found["megabytes"] for found in outcomes.values()) > 5


def _opened_while_reading(path: Path) -> tuple[dict[str, Any], set[Path]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(("a", str(path))), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return found, {Path(name).resolve() for name in found["opened"] if Path(name).suffix in ("", ".dcm")}


def test_a_dicomdir_is_not_followed(tmp_path: Path) -> None:
    secret = _image(tmp_path / "secret.dcm", EXPLICIT, _placed)
    disc = tmp_path / "disc"
    disc.mkdir()
    inside = _image(disc / "IM1.dcm", EXPLICIT, lambda ds: (_placed(ds), _for_directory(ds)))
    files = FileSet()
    files.add(inside)
    files.write(tmp_path / "made")
    directory = (tmp_path / "made" / "DICOMDIR").read_bytes()
    at = directory.index(b"\4\0\0\x15CS") + 6  # Referenced File ID
    length = int.from_bytes(directory[at : at + 2], "little")
    told = b"..\\..\\SECRET.DCM "
    assert b"PT000000" in directory[at : at + 2 + length]
    (disc / "DICOMDIR").write_bytes(directory[:at] + struct.pack("<H", len(told)) + told + directory[at + 2 + length :])
    inside.unlink()
    found, opened = _opened_while_reading(disc)
    assert (found["series"], found["damaged"], found["error"]) == (0, [], "")
    assert disc / "DICOMDIR" in opened
    assert secret not in opened
    found, opened = _opened_while_reading(disc / "DICOMDIR")  # the same where it is named itself
    assert found["series"] == 0
    assert secret not in opened


def _for_directory(ds: Dataset) -> None:
    ds.PatientID, ds.PatientName, ds.StudyID, ds.StudyDate, ds.StudyTime = "1", "A", "1", "20200101", "120000"
    ds.SeriesNumber, ds.InstanceNumber, ds.AccessionNumber, ds.StudyDescription = 1, 1, "", ""


def test_uids_never_become_paths(tmp_path: Path) -> None:
    from isocenter.io.dicom.header import read_header
    from isocenter.workflow.converting import convert

    def edit(ds: Dataset) -> None:
        _placed(ds)
        ds.SeriesDescription, ds.ProtocolName, ds.SeriesNumber = "../../escaped", "/escaped", 7
        ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.FrameOfReferenceUID = ds.SOPInstanceUID = "../../../escaped"

    path = _image(tmp_path / "in.dcm", EXPLICIT, edit)
    header = read_header(path)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert header.text(keyword) == ""
    before = {p for p in tmp_path.parent.parent.rglob("*escaped*") if p.is_file()}
    convert(path, out=tmp_path / "deep" / "er" / "out")
    written = {p for p in tmp_path.rglob("*") if p.is_file()} - {path}
    assert written
    assert all(tmp_path / "deep" / "er" / "out" in p.parents for p in written)
    assert {p for p in tmp_path.parent.parent.rglob("*escaped*") if p.is_file()} - written == before


def test_bombs_are_what_their_names_say(tmp_path: Path) -> None:
    assert 600_000 < len(_deflate(START, MIB, 600)) < 640_000
    assert zlib.decompress(_deflate(START, MIB, 6), -15) == START + 6 * MIB
    assert _nested(0x00081140, undefined=True).count(OPEN) == 3000
    with zipfile.ZipFile(_zip_bomb(tmp_path / "a.zip")) as archive, archive.open("a") as file:
        assert archive.infolist()[0].file_size == 1000 << 20
        assert file.read(1 << 20) == MIB
    with tarfile.open(_tar_bomb(tmp_path / "a.tgz")) as tar:
        member = tar.next()
        assert member is not None
        assert member.size == 1000 << 20
    with zipfile.ZipFile(_many_files(tmp_path / "b.zip")) as archive:
        assert len(archive.infolist()) == 60_000
