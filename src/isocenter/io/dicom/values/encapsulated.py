"""Where each frame of encapsulated pixel data lies in its file (PS3.5 A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fragments", "find_fragments"]

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
_MOST = 1 << 20  # fragments of one file
_REMEDY = "send or export it again"

Place = tuple[int, int]
"""First byte, length."""


@dataclass(frozen=True)
class Fragments:
    """Items of encapsulated pixel data.

    Attributes:
        file: Path.
        frames: How many the file says it has.
        places: Where the value of each item lies in it.
        table: Basic offset table: places of the first items of the frames, counted from the first item's head; empty
            where it has not one entry a frame.
    """

    file: str
    frames: int
    places: tuple[Place, ...]
    table: tuple[int, ...]

    def of_frame(self, index: int) -> Sequence[Place]:
        """Fragments of frame ``index``.

        Raises:
            FileFormatError: There are too few, or nothing tells where a frame begins.
        """
        count = len(self.places)
        if count < self.frames or index >= self.frames:
            raise FileFormatError(
                f"{self.file}: pixels cannot be decoded (NumberOfFrames (0028,0008) is {self.frames}, {count}"
                f" fragment(s) are there); {_REMEDY}"
            )
        if self.frames == 1:
            return self.places
        if count == self.frames:  # as an extended offset table (7FE0,0001) demands, and nearly everybody does
            return self.places[index : index + 1]
        if len(self._starts) != self.frames:
            raise FileFormatError(
                f"{self.file}: pixels cannot be decoded ({count} fragments for {self.frames} frames, and no offset"
                f" table tells where each begins); {_REMEDY}"
            )
        return self.places[self._starts[index] : self._starts[index + 1] if index + 1 < self.frames else count]

    @cached_property
    def _starts(self) -> list[int]:
        """Number of the first fragment of every frame."""
        return self._starts_by_table() if self.table else self._starts_by_end()

    def _starts_by_table(self) -> list[int]:
        first = self.places[0][0]
        at = {place - first: k for k, (place, _) in enumerate(self.places)}
        return sorted(at[offset] for offset in self.table if offset in at)

    def _starts_by_end(self) -> list[int]:
        """A fragment that follows the end of an image begins the next one."""
        starts = [0]
        with open(self.file, "rb") as file:
            for k, (place, length) in enumerate(self.places[:-1]):
                file.seek(place + max(length - 3, 0))
                if _END_OF_IMAGE in file.read(min(length, 3)):  # the last byte may be there to make the length even
                    starts.append(k + 1)
        return starts


def find_fragments(file: IO[bytes], name: str, at: int, size: int, frames: int) -> Fragments:
    """Walk over the items from byte ``at`` of a file of ``size`` bytes; nothing of their values is read.

    Raises:
        FileFormatError: An item reaches beyond the end, something else stands in its place, or there are too many.
    """
    places: list[Place] = []
    table: tuple[int, ...] | None = None
    while True:
        file.seek(at)
        head = file.read(8)
        if head[:4] == _END or (not head and at == size and places):  # some forget the delimiter
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or len(head) < 8 or length > size - at - 8 or len(places) == _MOST:
            raise FileFormatError(
                f"{name}: pixels cannot be decoded (fragment {len(places) + 1} at byte {at} is damaged, ends early or"
                f" is one too many); {_REMEDY}"
            )
        if table is None:
            table = struct.unpack(f"<{frames}I", file.read(length)) if length == 4 * frames else ()
        else:
            places.append((at + 8, length))
        at += 8 + length
    return Fragments(name, frames, tuple(places), table or ())
