"""Mutations of DICOM files that know where elements are; each is the same for the same number."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
VRS = (b"AE", b"AT", b"CS", b"DA", b"DS", b"FD", b"FL", b"IS", b"LO", b"PN", b"SH", b"SL", b"SS", b"UI", b"UL", b"US")
UNDEFINED = 0xFFFFFFFF
SYNTAXES = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.8.1", "1.2.3", ""),
)
# rows, columns, bits, frames ...: what sizes are computed from
SIZES = {
    **dict.fromkeys((0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102), b"US"),
    **dict.fromkeys((0x00280103, 0x00280121, 0x00280120), b"US"),
    **dict.fromkeys((0x00280008, 0x00200013, 0x00201209), b"IS"),
    **dict.fromkeys((0x00200032, 0x00200037, 0x00280030, 0x00281052, 0x00281053, 0x00180050, 0x00180088), b"DS"),
}
TEXTS = (
    b"",
    b"0",
    b"-1",
    b"nan",
    b"1e999",
    b"1\\2\\3",
    b"\\\\\\",
    b"2000000000",
    b"0.0001",
    b"1e-320",
    b"MOSAIC",
    b"\xff\xfe",
)


@dataclass(frozen=True)
class Place:
    """An element: where its head begins, its tag, where its length stands in how many bytes, and its value."""

    at: int
    tag: int
    length_at: int
    width: int
    value_at: int
    length: int

    @property
    def end(self) -> int:
        return self.value_at + (0 if self.length == UNDEFINED else self.length)


@dataclass
class Draft:
    """A file in change: what comes before the data set, the data set (inflated), how it is written."""

    start: bytes
    data: bytearray
    implicit: bool
    order: str
    deflated: bool

    def places(self) -> list[Place]:
        return list(_places(self.data, self.implicit, self.order))

    def bytes(self) -> bytes:
        if not self.deflated:
            return self.start + bytes(self.data)
        packer = zlib.compressobj(wbits=-15)
        return self.start + packer.compress(bytes(self.data)) + packer.flush()


def draft(raw: bytes) -> Draft:
    """Take a valid file apart."""
    at, syntax = (132 if raw[128:132] == b"DICM" else 0), b""
    while raw[at : at + 2] == b"\2\0":
        (place,) = (p for _, p in zip(range(1), _places(raw, False, "<", at), strict=False))
        if place.tag == 0x00020010:
            syntax = raw[place.value_at : place.end].rstrip(b"\0 ")
        at = place.end
    deflated = syntax == b"1.2.840.10008.1.2.1.99"
    data = zlib.decompress(raw[at:], -15) if deflated else raw[at:]
    implicit = not data[4:6].isupper()
    return Draft(raw[:at], bytearray(data), implicit, ">" if syntax == b"1.2.840.10008.1.2.2" else "<", deflated)


def _places(data: bytes | bytearray, implicit: bool, order: str, at: int = 0) -> Iterator[Place]:
    """Every element, item and delimiter of a valid data set, nested ones too."""
    while at + 8 <= len(data):
        group, element = struct.unpack_from(f"{order}HH", data, at)
        vr = bytes(data[at + 4 : at + 6])
        bare = implicit or group == 0xFFFE or not vr.isupper()
        long = not bare and vr in LONG
        length_at, width = (at + 4, 4) if bare else (at + 8, 4) if long else (at + 6, 2)
        if length_at + width > len(data):
            return
        (length,) = struct.unpack_from(order + ("I" if width == 4 else "H"), data, length_at)
        tag, value_at = group << 16 | element, length_at + width
        yield Place(at, tag, length_at, width, value_at, length)
        inside = length == UNDEFINED or tag in (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD) or vr == b"SQ"
        # fragments of pixels are items whose content is none
        at = value_at if inside and not (tag == 0xFFFEE000 and _is_fragment(data, value_at)) else value_at + length


def _is_fragment(data: bytes | bytearray, at: int) -> bool:
    return not 8 <= int.from_bytes(data[at : at + 2], "little") <= 0x7FE0 and data[at : at + 2] != b"\xfe\xff"


def _length(d: Draft, rng: np.random.Generator, place: Place) -> None:
    left = len(d.data) - place.value_at
    near = [place.length + int(rng.integers(-9, 10)), left, left + 1, int(rng.integers(0, left + 1))]
    value = int(rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED, *near]))
    limit = 0xFFFF if place.width == 2 else UNDEFINED
    struct.pack_into(d.order + ("H" if place.width == 2 else "I"), d.data, place.length_at, min(max(value, 0), limit))


def _vr(d: Draft, rng: np.random.Generator, place: Place) -> None:
    d.data[place.at + 4 : place.at + 6] = rng.choice([*VRS, *LONG, b"\0\0", b"ZZ", b"??"])


def _tag(d: Draft, rng: np.random.Generator, place: Place) -> None:
    other = rng.choice([p.tag for p in d.places()] + [0x7FE00010, 0xFFFEE00D, 0x52009230, 0x00280010, 0x00290010])
    struct.pack_into(f"{d.order}HH", d.data, place.at, int(other) >> 16, int(other) & 0xFFFF)


def _cut(d: Draft, rng: np.random.Generator, place: Place) -> None:
    at = rng.choice([place.at, place.length_at, place.value_at, min(place.end, len(d.data)), rng.integers(len(d.data))])
    del d.data[int(at) :]


def _flip(d: Draft, rng: np.random.Generator, place: Place) -> None:
    end = min(max(place.end, place.value_at + 8), len(d.data))
    for _ in range(int(rng.integers(1, 5))):
        if place.value_at < end:
            d.data[rng.integers(place.value_at, end)] = rng.integers(256)


def _remove(d: Draft, rng: np.random.Generator, place: Place) -> None:
    """An element, or, where there are some, a delimiter."""
    marks = [p for p in d.places() if p.tag in (0xFFFEE00D, 0xFFFEE0DD, 0xFFFEE000)]
    gone = marks[rng.integers(len(marks))] if marks and rng.random() < 0.7 else place
    del d.data[gone.at : gone.value_at if gone.tag >> 16 == 0xFFFE else gone.end]


def _repeat(d: Draft, rng: np.random.Generator, place: Place) -> None:
    d.data[place.at : place.at] = d.data[place.at : place.end] * int(rng.choice([1, 2, 50]))


def _nest(d: Draft, rng: np.random.Generator, place: Place) -> None:
    tag = int(rng.choice([0x00409096, 0x00081140, 0x52009230, 0x00091001, 0x300A00B0]))
    head = struct.pack(f"{d.order}HH", tag >> 16, tag & 0xFFFF) + (b"" if d.implicit else b"SQ\0\0") + b"\xff" * 4
    item = struct.pack(f"{d.order}HHI", 0xFFFE, 0xE000, UNDEFINED)
    ends = struct.pack(f"{d.order}HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    depth = int(rng.choice([1, 3, 20, 3000]))
    d.data[place.at : place.at] = (head + item) * depth + ends * (depth if rng.random() < 0.7 else 0)


def _lie(d: Draft, rng: np.random.Generator, place: Place) -> None:
    told = str(rng.choice(SYNTAXES)).encode()
    told += b"\0" * (len(told) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(told)) + told
    at = d.start.find(b"\2\0\x10\0UI")
    if at >= 0:
        after = at + 8 + int.from_bytes(d.start[at + 6 : at + 8], "little")
        d.start = d.start[:at] + element + d.start[after:]


def _size(d: Draft, rng: np.random.Generator, place: Place) -> None:
    """A number that sizes, places or values are computed from."""
    chosen = [p for p in d.places() if p.tag in SIZES and p.length != UNDEFINED]
    if not chosen:
        return
    place = chosen[rng.integers(len(chosen))]
    if SIZES[place.tag] == b"US" and place.length == 2:
        value = int(rng.choice([0, 1, 2, 3, 7, 8, 12, 16, 32, 64, 255, 4096, 65535]))
        struct.pack_into(f"{d.order}H", d.data, place.value_at, value)
        return
    text = bytes(rng.choice(np.array(TEXTS, object)))
    text += b" " * (len(text) % 2)
    struct.pack_into(d.order + ("H" if place.width == 2 else "I"), d.data, place.length_at, len(text))
    d.data[place.value_at : place.end] = text


def _pixels(d: Draft, rng: np.random.Generator, place: Place) -> None:
    """Bytes of the pixels, or of the fragments they are packed in."""
    found = [p for p in d.places() if p.tag == 0x7FE00010]
    if not found or found[-1].value_at >= len(d.data):
        return
    at = found[-1].value_at
    if rng.random() < 0.3:
        del d.data[int(rng.integers(at, len(d.data))) :]
        return
    first = min(at + 120, len(d.data)) if rng.random() < 0.5 else len(d.data)  # heads of frames, or anywhere
    for _ in range(int(rng.choice([1, 4, 40]))):
        d.data[rng.integers(at, first)] = rng.integers(256)


def _noise(d: Draft, rng: np.random.Generator, place: Place) -> None:
    for _ in range(int(rng.integers(1, 9))):
        d.data[rng.integers(len(d.data))] = rng.integers(256)


KINDS: tuple[Callable[[Draft, np.random.Generator, Place], None], ...] = (
    *(_length, _vr, _tag, _cut, _flip, _remove, _repeat, _nest, _lie, _size, _size, _pixels, _noise),
)


def mutated(raw: bytes, number: int) -> bytes:
    """The mutation of that number: one to three changes."""
    rng = np.random.default_rng(number)
    change = draft(raw)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        places = change.places() if change.data else []
        if not places:
            break
        try:
            KINDS[rng.integers(len(KINDS))](change, rng, places[rng.integers(len(places))])
        except struct.error:  # what one change left is no data set for the next
            break
    return change.bytes()
