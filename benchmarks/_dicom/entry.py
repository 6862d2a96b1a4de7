"""One line of the lists of what must be read and what must be refused."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DAMAGE", "GEOMETRY", "SERIES", "Input", "refused"]

GEOMETRY, SERIES, DAMAGE = "GeometryError", "SeriesError", "FileFormatError SeriesError"


@dataclass(frozen=True)
class Input:
    """One path that is handed to every reader.

    Attributes:
        name: In tables.
        where: ``data:`` real data, ``pydicom:`` pydicom's test files, ``made:`` a mutation or a synthetic series.
        why: It stands on its list.
        read: On the list of those that must be read; otherwise it must be refused.
        kind: ``volume``, ``stack`` or ``values``; see above.
        errors: Class of the error that must be raised: one of these (of a ``stack``: for the strict volume).
        codes: Code of the problem that must be told: one of these.
        aside: Names of files that are no part of the image: localizers, copies. They have to be told of.
        codec_step: How far decoders of a lossy stream may be apart, in stored units.
    """

    name: str
    where: str
    why: str
    read: bool = True
    kind: str = "volume"
    errors: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    codec_step: int = 0

    @property
    def states_places(self) -> bool:
        """Whether headers state a place for its pixels, so that every reader can be scored."""
        return self.where.startswith("made:") or "GeometryError" in self.errors or (self.read and self.kind != "values")


def refused(name: str, where: str, why: str, errors: str, codes: str, *, aside: tuple[str, ...] = ()) -> Input:
    """An input of the other list; classes of errors and codes of problems with blanks between."""
    return Input(name, where, why, False, "volume", tuple(errors.split()), tuple(codes.split()), aside)
