"""One pass over the elements of a DICOM data set up to its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isocenter.io.dicom.parsing.cursor import ITEM, SEQUENCE_END, UNDEFINED, Cursor, shown
from isocenter.io.dicom.parsing.elements import LONG_VRS, SHORT_VRS, UNREADABLE
from isocenter.io.dicom.parsing.wanted import KNOWN, Kind, Wanted, reserved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isocenter.io.dicom.parsing.cursor import Encoding, Head
    from isocenter.io.dicom.parsing.source import Source

__all__ = ["Pixels", "Walk"]

_SMALL = 128  # bytes of a value that is decoded on the spot
_COST = 16  # bytes in memory for a byte of text or numbers, at worst
_CHARSETS = 8  # more than are used together; decoders are kept for each choice
_SEQUENCES = (None, b"SQ", b"UN")


@dataclass(frozen=True)
class Pixels:
    """Where the pixel data element is.

    Attributes:
        at: Byte at which it begins; of a deflated file, counted as if it were not deflated.
        value_at: Byte at which its value begins.
        element: Low half of its tag: 0x0010 whole numbers, 0x0008 float, 0x0009 double.
        length: Of its value; ``None`` where the value is encapsulated.
        vr: Value representation; empty where the file states none.
    """

    at: int
    value_at: int
    element: int
    length: int | None
    vr: str


class _Item:
    """A data set while it is read: what it holds, and what it says about elements to come."""

    __slots__ = ("depth", "encoding", "end", "open", "private", "tags")

    def __init__(self, end: int, depth: int, encoding: Encoding, *, is_open: bool = False) -> None:
        self.end, self.depth, self.encoding = end, depth, encoding
        self.open = is_open  # a delimiter ends it
        self.tags: dict[str, Any] = {}
        self.private: Mapping[int, Wanted] = {}


class Walk(Cursor):
    """A pass that begins at byte ``at``.

    Attributes:
        tags: Values by keyword of what was kept so far, also after an error.
        pixels: Where the pixels are; ``None`` where there are none.

    Example:
        >>> import pathlib, tempfile
        >>> from isocenter.io.dicom.parsing.cursor import encoding
        >>> from isocenter.io.dicom.parsing.source import Limits, Source
        >>> path = pathlib.Path(tempfile.mkdtemp(), "rows")
        >>> _ = path.write_bytes(bytes.fromhex("28001000 5553 0200 0002  28001100 5553 0200 8001"))
        >>> with path.open("rb") as file:
        ...     walk = Walk(Source(file, "rows", Limits()), 0, encoding())
        ...     walk.run()
        >>> walk.tags
        {'Rows': 512, 'Columns': 384}
    """

    def __init__(self, source: Source, at: int, encoding: Encoding) -> None:
        super().__init__(source, at)
        self.pixels: Pixels | None = None
        self._top = _Item(source.size, 0, encoding)
        self.tags = self._top.tags

    def run(self) -> None:
        """Read up to the pixels or the end.

        Raises:
            FileFormatError: A length or a delimiter cannot be, or the file asks for more than its limits.
        """
        self._elements(self._top)

    def _elements(self, item: _Item) -> None:
        """All elements of ``item``. This loop is where the time goes, so what is common is done on the spot."""
        known, decode, private = KNOWN, item.encoding.decoders, item.private
        explicit, head, word = item.encoding.heads
        data, base, last, whole, room = self._window(item)
        at, used = self.at - base, 0
        for used in range(self._left):  # noqa: B007, it is used after the loop
            if at > last:
                if self._ended(item, base + at):
                    break
                data, base, last, whole, room = self._window(item)
                at = self.at - base
            if explicit:
                tag, vr, length = head(data, at)
                at += 8
                if vr in LONG_VRS:
                    (length,) = word(data, at)
                    at += 4
                elif vr not in SHORT_VRS and not b"AA" <= vr <= b"ZZ":
                    vr, (length,) = None, word(data, at - 4)  # an implicit element in an explicit data set
            else:
                (tag, length), vr = head(data, at), None
                at += 8
            entry = known.get(tag) or private.get(tag)
            if entry is None and length <= room - at:
                at += length
                continue
            if entry is not None and entry[2] == 0 and length <= _SMALL and length <= whole - at:
                value = (decode.get(vr) or decode[entry[1]])(data[at : at + length])
                if value is not None:
                    item.tags[entry[0]] = value
                at += length
                continue
            self.at = base + at
            if self._seldom(item, (tag, vr, length), entry):
                break
            decode, private = item.encoding.decoders, item.private
            data, base, last, whole, room = self._window(item)
            at = self.at - base
        else:
            self.refuse(f"more than {self._limits.elements} elements")
        self._left -= used + 1
        self.spend(64 + 160 * len(item.tags))

    def _window(self, item: _Item) -> tuple[bytes, int, int, int, int]:
        """The bytes at hand, where they begin, and in them: last place of an element's head, their end, the item's."""
        source = self._source
        room = min(item.end, source.size) - source.base
        complete = source.base + source.full >= source.size
        last = min(source.full - (8 if complete else 12), room - 8)
        return source.data, source.base, last, min(source.full, room), room

    def _ended(self, item: _Item, at: int) -> bool:
        """Whether ``item`` ends at ``at``; else the bytes there are brought."""
        source = self._source
        self.at = at
        left = min(item.end, source.size) - at
        if left >= 8:
            source.move(at)
            left = min(item.end, source.size, source.base + source.full) - at
        if left >= 8:
            return False
        if left < 0:
            self.refuse("the file ends inside of a value")
        if item.open or (item.depth and left):  # at the end of a file a few bytes of padding are common
            self.refuse("an item has no end")
        return True

    def _seldom(self, item: _Item, head: Head, entry: Wanted | None) -> bool:
        """What the loop leaves: whether it is the end of ``item``."""
        kind = entry.kind if entry else Kind.VALUE
        if entry is None or (kind == Kind.PIXELS and item.depth):
            self.pass_over(head, item.encoding, item.end)
        elif kind == Kind.PIXELS:
            self._note_pixels(head)
            return True
        elif kind == Kind.END and item.open:
            return True
        elif kind in (Kind.END, Kind.STRAY):
            self.refuse(f"the delimiter {shown(head[0])} where an element is due")
        elif kind == Kind.SEQUENCE and head[1] in _SEQUENCES:
            found = self._sequence(item, head)
            if found:
                item.tags[entry.keyword] = found
        elif kind == Kind.SEQUENCE or head[2] == UNDEFINED:
            self.pass_over(head, item.encoding, item.end)
            item.tags[entry.keyword] = UNREADABLE
        else:
            self._keep(item, head, entry)
        return False

    def _note_pixels(self, head: Head) -> None:
        tag, vr, length = head
        begin = self.at - (12 if vr in LONG_VRS else 8)
        known = None if length == UNDEFINED else length
        self.pixels = Pixels(begin, self.at, tag >> 16, known, (vr or b"").decode("latin-1"))

    def _keep(self, item: _Item, head: Head, entry: Wanted) -> None:
        """A long value, or one that changes how what follows is read."""
        tag, vr, length = head
        if entry.kind == Kind.MOSAIC and "MOSAIC" not in item.tags.get("ImageType", ()):
            self.pass_over(head, item.encoding, item.end)
            return
        if length > self._limits.value_bytes:
            self.refuse(f"{shown(tag)} declares {length} bytes, {self._limits.value_bytes} are allowed")
        as_bytes = entry.kind == Kind.RAW or entry.vr == b"OB"
        self.check(tag, length, item.end)
        self.spend(length if as_bytes else length * _COST)
        raw = self.value(tag, length, item.end)
        decode = item.encoding.decoders
        decoder = decode[b"OB"] if as_bytes else decode.get(vr or b"") or decode[entry.vr]
        if length > _SMALL:
            decoder = getattr(decoder, "__wrapped__", decoder)  # which does not remember
        value = decoder(raw)
        if entry.kind == Kind.CREATOR:
            if isinstance(value, str):
                item.private = {**item.private, **reserved(tag & 0xFFFF, tag >> 16, value)}
        elif value is not None:
            item.tags[entry.keyword] = value
            self._learn(item, entry.kind, value)

    def _learn(self, item: _Item, kind: int, value: Any) -> None:
        if kind == Kind.SIGN:
            item.encoding = item.encoding.but(signed=value == 1)
        elif kind == Kind.CHARSET:
            names = value if isinstance(value, tuple) else (value,)
            known = tuple(name for name in names[:_CHARSETS] if isinstance(name, str) and len(name) <= 16)
            item.encoding = item.encoding.but(charset=known)

    def _sequence(self, item: _Item, head: Head) -> tuple[dict[str, Any], ...]:
        tag, vr, length = head
        if item.depth >= self._limits.depth:
            self.refuse(f"{shown(tag)} lies in more than {self._limits.depth} sequences")
        encoding = item.encoding.inside(vr)
        end = item.end if length == UNDEFINED else self.check(tag, length, item.end)
        found = []
        while length == UNDEFINED or self.at < end:
            marker, _, size = self.marker(encoding, end)
            if marker == SEQUENCE_END and length == UNDEFINED:
                break
            if marker != ITEM:
                self.refuse(f"{shown(marker)} where an item of {shown(tag)} is due")
            is_open = size == UNDEFINED
            inner = _Item(end if is_open else self.check(marker, size, end), item.depth + 1, encoding, is_open=is_open)
            self._elements(inner)
            found.append(inner.tags)
        return tuple(found)
