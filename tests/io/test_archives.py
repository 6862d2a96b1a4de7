"""Archives are unpacked under limits; names, links and sizes that an archive makes up lead nowhere."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isocenter.errors import FileFormatError, IsocenterError, SeriesError
from isocenter.io.archives import ArchiveLimits, opened

FILES = {
    "STUDY/Canary^Name/IM1": b"first",
    "STUDY/Canary^Name/IM2": b"second" * 40_000,
    "STUDY/other/IM1.dcm": b"",
    "top": b"x",
}


def _zip(path: Path, entries: dict[str, bytes], **settings: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("STUDY/", b"")
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            for key, value in settings.items():
                setattr(info, key, value)
            archive.writestr(info, data, settings.get("compress_type", zipfile.ZIP_DEFLATED))
    return path


def _tar(path: Path, entries: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as archive:
        folder = tarfile.TarInfo("STUDY")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, link
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["disc.zip", "disc.tar", "disc.tar.gz", "disc.tgz", "disc.ZIP"])
def test_every_file_is_there_under_a_number(tmp_path: Path, name: str) -> None:
    make = _zip if name.lower().endswith("zip") else _tar
    with opened(make(tmp_path / name, FILES)) as folder:
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    # the folder of the archive is its first entry
    assert found == dict(
        zip(["0001/000002.dcm", "0001/000003.dcm", "0002/000004.dcm", "0003/000005.dcm"], FILES.values(), strict=True)
    )
    assert not folder.exists()


def test_what_is_no_archive_is_given_as_it_is(tmp_path: Path) -> None:
    polyglot = tmp_path / "slice.dcm"
    polyglot.write_bytes(b"PK\x03\x04".ljust(128, b"\0") + b"DICM")
    for path in (tmp_path, polyglot, tmp_path / "absent"):
        with opened(path) as same:
            assert same == path


def test_the_folder_goes_and_errors_name_the_archive(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "disc.zip", FILES)
    with pytest.raises(SeriesError) as caught, opened(archive) as folder:  # noqa: PT012
        (inside,) = folder.glob("0003/*")
        raise SeriesError(f"{inside}: Rows (0028,0010) is absent")
    assert str(caught.value) == f"{archive}/0003/000005.dcm: Rows (0028,0010) is absent"
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), opened(archive) as folder:
        _ = 1 / 0
    assert not folder.exists()


OUT = ["../out", "a/../../out", "/etc/out", "..", "a\\..\\..\\out", "C:\\out", "C:out", "\\\\host\\out", "a/.."]


@pytest.mark.parametrize(("name", "suffix"), [(n, s) for n in OUT for s in (".zip", ".tar")] + [("a\0b", ".zip")])
def test_names_that_lead_out(tmp_path: Path, name: str, suffix: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = inside / f"bad{suffix}"
    if suffix == ".zip":
        _zip(archive, {"x" * len(name): b"data"})
        raw = archive.read_bytes()
        archive.write_bytes(raw.replace(b"x" * len(name), name.encode()))
    else:
        _tar(archive, {name: b"data"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileFormatError, match="leads out of the archive"), opened(archive):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_devices(tmp_path: Path) -> None:
    link = (stat.S_IFLNK | 0o777) << 16
    device = (stat.S_IFBLK | 0o666) << 16
    cases = [
        (_zip(tmp_path / "link.zip", {"link": b"/etc/passwd"}, external_attr=link), "link"),
        (_zip(tmp_path / "device.zip", {"disk": b""}, external_attr=device), "device"),
        (_tar(tmp_path / "link.tar", {"link": b""}, tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (_tar(tmp_path / "hard.tar", {"link": b""}, tarfile.LNKTYPE, "../../secret"), "link"),
        (_tar(tmp_path / "device.tgz", {"disk": b""}, tarfile.BLKTYPE), "device"),
        (_tar(tmp_path / "pipe.tar", {"pipe": b""}, tarfile.FIFOTYPE), "device"),
    ]
    for archive, what in cases:
        with pytest.raises(FileFormatError, match=f"entry 2 is a {what}, not a file"), opened(archive):
            pass


def test_sizes(tmp_path: Path) -> None:
    zeros = {"zeros": bytes(3_000_000)}
    small = ArchiveLimits(free_bytes=100_000, ratio=20)
    for archive in (_zip(tmp_path / "a.zip", zeros), _tar(tmp_path / "a.tgz", zeros)):
        with opened(archive):  # within the usual limits
            pass
        with pytest.raises(FileFormatError, match="are allowed"), opened(archive, small):
            pass
        with pytest.raises(FileFormatError, match=r"entry 2 declares 3000000 bytes"), opened(
            archive, ArchiveLimits(entry_bytes=1000)
        ):  # fmt: skip
            pass
        with pytest.raises(FileFormatError, match="holds more than 1 files"), opened(archive, ArchiveLimits(entries=1)):
            pass


def test_a_declared_size_is_not_believed(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "liar.zip", {"zeros": bytes(3_000_000)})
    raw = archive.read_bytes()
    archive.write_bytes(raw.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10)))
    with pytest.raises(FileFormatError, match=r"damaged archive|allowed"), opened(archive):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_may_take_gigabytes(tmp_path: Path, method: int) -> None:
    archive = _zip(tmp_path / "a.zip", {"a": b"data"}, compress_type=method)
    with pytest.raises(FileFormatError, match=f"has compression method {method}"), opened(archive):
        pass


def test_encrypted(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a": b"data"})
    raw = bytearray(archive.read_bytes())
    at = raw.rfind(b"PK\x01\x02")
    raw[at + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(FileFormatError, match="entry 2 is encrypted"), opened(archive):
        pass


def test_header_of_a_tar_that_asks_for_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    archive = tmp_path / "long.tar"
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(FileFormatError, match="has a header of"), opened(archive):
        pass


@pytest.mark.parametrize("name", ["disc.zip", "disc.tar", "disc.tgz"])
def test_damage_is_typed_and_tells_no_names(tmp_path: Path, name: str) -> None:
    make = _zip if name.endswith("zip") else _tar
    data = make(tmp_path / name, FILES).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        bad = bytearray(data)
        for _ in range(int(rng.integers(1, 5))):
            bad[rng.integers(len(bad))] = rng.integers(256)
        (tmp_path / name).write_bytes(bad if rng.random() < 0.7 else bad[: int(rng.integers(len(bad)))])
        try:
            with opened(tmp_path / name) as folder:
                if folder == tmp_path / name:
                    continue
                written = [p for p in folder.rglob("*") if p.is_file()]
                assert all(p.name.removesuffix(".dcm").isdigit() for p in written)
        except IsocenterError as error:
            refused += 1
            assert "Canary" not in str(error)  # noqa: PT017
            assert os.linesep not in str(error)  # noqa: PT017
    assert refused > 20
