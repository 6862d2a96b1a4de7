"""Bytes of one element to plain values, by value representation (PS3.5 6.2)."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Decoder = Callable[[bytes], Any]

__all__ = ["LONG_VRS", "SHORT_VRS", "UNREADABLE", "decoders"]

LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Have two bytes of nothing and four of length in explicit encoding."""
SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
"""Have two bytes of length in explicit encoding."""

_NUMBERS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d"}
_CODED = (b"CS", b"AE", b"AS", b"DA", b"TM", b"DT", b"UR")
_TEXTS = (b"LO", b"SH", b"UC")
_PROSE = (b"LT", b"ST", b"UT")  # a backslash separates nothing in these
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BREAK = re.compile(r"[\t\r\n]+")  # not allowed in short texts, and written all the same; a message is one line
_NOT_UID = re.compile(r"[^0-9.]")
_LARGEST = 1 << 63


class _Unreadable:
    """Stands for a value that is there and makes no sense; a number asked of it is refused by name."""

    def __repr__(self) -> str:
        return "unreadable"


UNREADABLE: Final = _Unreadable()


@lru_cache(maxsize=64)
def decoders(*, big: bool = False, signed: bool = False, charset: tuple[str, ...] = ()) -> Mapping[bytes, Decoder]:
    r"""Functions from bytes to a plain value: a number, a string, a tuple of them, bytes; ``None`` for no bytes.

    None of them raises: what cannot be decoded is `UNREADABLE`. They remember what they saw last, since most elements
    are the same in all files of a series; give them short values only.

    Args:
        big: Big endian.
        signed: Whether the representation ``XS`` (unsigned or signed) is signed.
        charset: Specific Character Set (0008,0005) of text.

    Example:
        >>> decode = decoders()
        >>> decode[b"DS"](b"0.5\\0.75 "), decode[b"US"](b"\0\2"), decode[b"UI"](b"1.2\0"), decode[b"CS"](b"")
        ((0.5, 0.75), 512, '1.2', None)
        >>> decode[b"DS"](b"0,5 ")
        unreadable
    """
    order = ">" if big else "<"
    table: dict[bytes, Decoder] = {vr: _numbers_of(order, code) for vr, code in _NUMBERS.items()}
    table[b"XS"] = table[b"SS" if signed else b"US"]
    table[b"AT"] = _tags_of(order)
    table[b"DS"], table[b"IS"], table[b"UI"] = _decimals, _integers, _uids
    table |= dict.fromkeys(_CODED, _strings)
    table |= dict.fromkeys(_TEXTS, _texts_of(charset, split=True))
    table |= dict.fromkeys(_PROSE, _texts_of(charset, split=False))
    table |= dict.fromkeys((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV"), lambda raw: raw or None)
    table[b"PN"] = lambda raw: UNREADABLE if raw else None  # no wanted element is a name
    return table


def _plain(values: list[Any]) -> Any:
    if len(values) == 1:
        return None if values[0] == "" else values[0]
    return tuple(values)


def _numbers_of(order: str, code: str) -> Decoder:
    one = struct.Struct(order + code)
    size = one.size
    unpack = one.unpack

    def decode(raw: bytes) -> Any:
        if len(raw) == size:
            return unpack(raw)[0]
        if len(raw) % size:
            return UNREADABLE
        return struct.unpack(f"{order}{len(raw) // size}{code}", raw) if raw else None

    return decode


def _tags_of(order: str) -> Decoder:
    def decode(raw: bytes) -> Any:
        if len(raw) % 4:
            return UNREADABLE
        halves = struct.unpack(f"{order}{len(raw) // 2}H", raw)
        found = [group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True)]
        return _plain(found) if found else None

    return decode


def _split(raw: bytes) -> list[str]:
    return [part.strip() for part in raw.decode("latin-1").strip("\0 \t\r\n").split("\\")]


@lru_cache(maxsize=4096)
def _decimals(raw: bytes) -> Any:
    if b"_" in raw:  # Python would take it for a separator of digits
        return UNREADABLE
    try:
        return _plain([float(part) if part else "" for part in _split(raw)])
    except ValueError:
        return UNREADABLE


@lru_cache(maxsize=4096)
def _integers(raw: bytes) -> Any:
    if b"_" in raw:
        return UNREADABLE
    try:
        return _plain([_integer(part) if part else "" for part in _split(raw)])
    except (ValueError, OverflowError):
        return UNREADABLE


def _integer(text: str) -> int:
    try:
        number = int(text)
    except ValueError:  # "1.0" is written by some
        exact = float(text)
        number = int(exact)
        if number != exact:
            raise
    if abs(number) >= _LARGEST:
        raise OverflowError
    return number


@lru_cache(maxsize=4096)
def _uids(raw: bytes) -> Any:
    """Digits and dots only: a UID may become part of a message, of a key, of a file that is written."""
    parts = _split(raw)
    if any(_NOT_UID.search(part) for part in parts):
        return UNREADABLE
    return _plain(parts)


@lru_cache(maxsize=4096)
def _strings(raw: bytes) -> Any:
    parts = _split(raw)
    # control characters: the length is wrong, and what follows the element is in its value
    if any(_CONTROL.search(part) for part in parts):
        return UNREADABLE
    return _plain(parts)


def _texts_of(charset: tuple[str, ...], *, split: bool) -> Decoder:
    @lru_cache(maxsize=1024)
    def decode(raw: bytes) -> Any:
        text = raw.decode("ascii") if raw.isascii() and b"\x1b" not in raw else _foreign(raw, charset)
        text = _BREAK.sub(" ", text) if split else text
        parts = [part.rstrip("\0 ").strip() for part in text.split("\\")] if split else [text.rstrip("\0 ").strip()]
        if split and any(_CONTROL.search(part) for part in parts):
            return UNREADABLE
        return _plain(parts)

    return decode


def _foreign(raw: bytes, charset: tuple[str, ...]) -> str:
    """Text beyond ASCII; where the character set is unknown or wrong every byte still gives a character."""
    from pydicom.charset import convert_encodings, decode_bytes, python_encoding
    from pydicom.valuerep import TEXT_VR_DELIMS

    if not charset or any(name not in python_encoding for name in charset):  # made up, or damaged
        return raw.decode("latin-1")
    if len(charset) == 1 and b"\x1b" not in raw:
        return raw.decode(python_encoding[charset[0]], "replace")
    try:
        return str(decode_bytes(raw, convert_encodings(list(charset)), TEXT_VR_DELIMS))
    except Exception:  # whatever a codec finds wrong with it
        return raw.decode("latin-1")
