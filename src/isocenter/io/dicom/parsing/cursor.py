"""A place in a DICOM data set: steps over elements, with every length checked (PS3.5 7.1, 7.5)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from isocenter.errors import FileFormatError
from isocenter.io.dicom.parsing.elements import LONG_VRS, SHORT_VRS, decoders
from isocenter.io.dicom.parsing.source import REMEDY, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Head = tuple[int, bytes | None, int]
    Decoder = Callable[[bytes], Any]
    Unpack = Callable[[bytes, int], Any]

__all__ = ["ITEM", "ITEM_END", "SEQUENCE_END", "UNDEFINED", "Cursor", "Encoding", "encoding", "shown"]

UNDEFINED = 0xFFFFFFFF
# tags are four bytes read as one little endian number: element above group
ITEM, ITEM_END, SEQUENCE_END = 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE

_WORD, _BIG_WORD = struct.Struct("<I").unpack_from, struct.Struct(">I").unpack_from
_IMPLICIT = struct.Struct("<II").unpack_from
_EXPLICIT = struct.Struct("<I2sH").unpack_from
_BIG = struct.Struct(">HH2sH").unpack_from
_BIG_IMPLICIT = struct.Struct(">HHI").unpack_from


def _big_explicit(data: bytes, at: int) -> tuple[int, bytes, int]:
    group, element, vr, length = _BIG(data, at)
    return element << 16 | group, vr, length


def _big_implicit(data: bytes, at: int) -> tuple[int, int]:
    group, element, length = _BIG_IMPLICIT(data, at)
    return element << 16 | group, length


class Encoding:
    """How a data set is written (PS3.5 A); get one from `encoding`, which keeps them for the next file.

    Attributes:
        decoders: Functions from bytes to values, by value representation.
        heads: Whether elements state their representation; what unpacks their head; what unpacks four bytes.
    """

    def __init__(self, *, implicit: bool, big: bool, signed: bool, charset: tuple[str, ...]) -> None:
        self.implicit, self.big, self.signed, self.charset = implicit, big, signed, charset
        self.decoders: Mapping[bytes, Decoder] = decoders(big=big, signed=signed, charset=charset)
        little, large = (_IMPLICIT, _big_implicit) if implicit else (_EXPLICIT, _big_explicit)
        self.heads: tuple[bool, Unpack, Unpack] = (not implicit, large if big else little, _BIG_WORD if big else _WORD)

    def inside(self, vr: bytes | None) -> Encoding:
        """Of the items of a sequence: those of unknown representation are implicit little endian (PS3.5 6.2.2)."""
        return encoding(implicit=True, signed=self.signed, charset=self.charset) if vr == b"UN" else self

    def but(self, *, signed: bool | None = None, charset: tuple[str, ...] | None = None) -> Encoding:
        """With another sign of elements that are of either sign, or another character set."""
        return encoding(
            implicit=self.implicit,
            big=self.big,
            signed=self.signed if signed is None else signed,
            charset=self.charset if charset is None else charset,
        )


@lru_cache(maxsize=128)
def encoding(
    *, implicit: bool = False, big: bool = False, signed: bool = False, charset: tuple[str, ...] = ()
) -> Encoding:
    """The encoding of these properties.

    Args:
        implicit: Elements do not state their value representation.
        big: Big endian.
        signed: Pixel Representation, for elements that are of either sign.
        charset: Specific Character Set.
    """
    return Encoding(implicit=implicit, big=big, signed=signed, charset=charset)


def shown(tag: int) -> str:
    """A tag for messages."""
    return f"({tag & 0xFFFF:04X},{tag >> 16:04X})"


class Cursor:
    """Where a walk over a data set stands, and what it may still spend.

    Attributes:
        at: Byte of the file; of a deflated one, counted as if it were not deflated.
    """

    def __init__(self, source: Source, at: int) -> None:
        self.at = at
        self._source, self._limits = source, source.limits
        self._left = source.limits.elements
        self._memory = source.limits.memory_bytes + 2 * source.file_size

    def refuse(self, what: str) -> NoReturn:
        """Say that the file cannot be read any further."""
        raise FileFormatError(f"{self._source.name}: damaged DICOM header: {what}, at byte {self.at}; {REMEDY}")

    def spend(self, size: int) -> None:
        """Take from the memory that the file may fill."""
        self._memory -= size
        if self._memory < 0:
            self.refuse("its elements take more memory than a file of its size explains")

    def check(self, tag: int, length: int, end: int) -> int:
        """End of a value that begins here and has to lie before ``end``."""
        left = max(min(end, self._source.size) - self.at, 0)
        if length > left:
            self.refuse(f"{shown(tag)} declares {length} bytes and {left} are left")
        return self.at + length

    def value(self, tag: int, length: int, end: int) -> bytes:
        """Bytes of a value that begins here."""
        after = self.check(tag, length, end)
        raw = self._source.value(self.at, length)
        if len(raw) < length:
            self.refuse(f"{shown(tag)} declares {length} bytes and {len(raw)} are left")
        self.at = after
        return raw

    def marker(self, written: Encoding, end: int) -> Head:
        """An item or a delimiter; those have no value representation."""
        raw = self._source.value(self.at, 8)
        if len(raw) < 8 or self.at + 8 > end:
            self.refuse("a sequence has no end")
        self.at += 8
        tag, length = (_big_implicit if written.big else _IMPLICIT)(raw, 0)
        return tag, None, length

    def head(self, written: Encoding, end: int) -> Head:
        """Tag, representation and length of an element; one without valid representation is taken as implicit."""
        raw = self._source.value(self.at, 12)
        if len(raw) < 8 or self.at + 8 > end:
            self.refuse("an item has no end")
        tag, vr, length = (_big_explicit if written.big else _EXPLICIT)(raw, 0)
        word = _BIG_WORD if written.big else _WORD
        if written.implicit or (vr not in SHORT_VRS and vr not in LONG_VRS and not b"AA" <= vr <= b"ZZ"):
            self.at += 8
            return tag, None, word(raw, 4)[0]
        if vr not in LONG_VRS:
            self.at += 8
            return tag, vr, length
        if len(raw) < 12:
            self.refuse(f"{shown(tag)} has no length")
        self.at += 12
        return tag, vr, word(raw, 8)[0]

    def _hurry(self, written: Encoding, end: int) -> None:
        """Over elements of known length, as far as they are at hand; stops before all others."""
        source = self._source
        data, base, room = source.data, source.base, min(end, source.size) - source.base
        explicit, head, word = written.heads
        at = self.at - base
        last, used = min(source.full, room) - 12, 0
        while 0 <= at <= last and used < self._left:
            after = at + 8
            if explicit:
                tag, vr, length = head(data, at)
                if vr in LONG_VRS:
                    length, after = word(data, after)[0], after + 4
                elif vr not in SHORT_VRS:
                    break
            else:
                tag, length = head(data, at)
            if length > room - after or tag & 0xFFFF == 0xFFFE:
                break
            at = after + length
            used += 1
        self.at = base + at
        self._left -= used

    def pass_over(self, head: Head, written: Encoding, end: int) -> None:
        """To the end of the value of an element, without reading it; sequences without recursion."""
        tag, vr, length = head
        if length != UNDEFINED:
            self.at = self.check(tag, length, end)
            return
        levels = [(False, written.inside(vr))]  # whether inside of an item, and how that is written
        while levels:
            inside, written = levels[-1]
            if inside:
                self._hurry(written, end)
            self._left -= 1
            if self._left < 0:
                self.refuse(f"more than {self._limits.elements} elements")
            tag, vr, length = self.head(written, end) if inside else self.marker(written, end)
            if tag == (ITEM_END if inside else SEQUENCE_END):
                levels.pop()
            elif (tag == ITEM) == inside or tag in (ITEM_END, SEQUENCE_END):
                self.refuse(f"{shown(tag)} where {'an element' if inside else 'an item'} is due")
            elif length != UNDEFINED:
                self.at = self.check(tag, length, end)
            elif len(levels) >= 2 * self._limits.skipped_depth:
                self.refuse(f"more than {self._limits.skipped_depth} sequences inside of each other")
            else:
                levels.append((not inside, written.inside(vr)))
