"""Arrays on disk in bricks: small boxes of voxels, each compressed by itself, so that any part can be read quickly.

A file is a row of Blosc2 chunks, one a brick, in the order of the bricks' indices; where each begins is told beside the
file. Reading has no state (a file is opened, read and closed, each brick is decompressed by a context of its own), so
any number of threads may read one array at once, and the interpreter lock is released while they do.

Format: Blosc2 (https://www.blosc.org), bytes shuffled, LZ4; bricks of noise as they are.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["CachedArray", "write_bricks"]

_BRICK_BYTES = 1 << 17  # about: smaller ones cost calls, larger ones bytes that nobody asked for
_WORTH = 0.75  # of its size; bricks that stay larger are kept as they are
_THICK = 96  # slices; stacks of fewer are often read a slice at a time
_LENGTHS = struct.Struct("<3i")  # in a chunk's head, from its fifth byte: unpacked, of a block, packed

Axis = list[tuple[int, int, slice, slice]]
"""The bricks that a range touches along one axis: number, extent, part of the brick, part of the range."""


@dataclass(frozen=True, eq=False)
class CachedArray:
    """An array in a file of bricks; slicing reads the bricks it touches.

    Attributes:
        path: The file.
        shape: Of the array.
        dtype: Of its values.
        brick: Shape of a brick; those at the upper ends are cut off.
        offsets: First byte of each brick, and the length of the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ramp"
        >>> ramp = CachedArray.of(path, write_bricks(path, np.arange(24, dtype=np.int16).reshape(2, 3, 4)))
        >>> ramp[1, :2, 1:3].tolist(), ramp.shape, ramp.dtype.name
        ([[13, 14], [17, 18]], (2, 3, 4), 'int16')
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    brick: tuple[int, ...]
    offsets: tuple[int, ...]

    @staticmethod
    def of(path: Path, facts: Mapping[str, Any]) -> CachedArray:
        """The array in ``path`` of which `write_bricks` gave ``facts``."""
        offsets = tuple(np.cumsum([0, *facts["bricks"]]).tolist())
        array = CachedArray(path, tuple(facts["shape"]), np.dtype(facts["dtype"]), tuple(facts["brick"]), offsets)
        if len(offsets) - 1 != math.prod(_counts(array.shape, array.brick)):
            raise ValueError(f"{len(offsets) - 1} bricks do not make an array of shape {array.shape}")
        return array

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """A part, as NumPy's basic indexing gives it: whole numbers, slices, one ``...``.

        Raises:
            CacheError: The file is gone or damaged.
        """
        slices, squeezed = _ranges(key, self.shape)
        box = self.box([s.start for s in slices], [max(s.start, s.stop) for s in slices])
        if any(s.step != 1 for s in slices):
            box = box[tuple(slice(None, None, s.step) for s in slices)]
        return box[tuple(0 if axis in squeezed else slice(None) for axis in range(self.ndim))]

    def read(self) -> NDArray[Any]:
        """All of it."""
        return self.box([0] * self.ndim, self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array on disk cannot be had without a copy")
        return self.read().astype(dtype or self.dtype, copy=False)

    def box(self, start: Any, stop: Any) -> NDArray[Any]:
        """The part from index ``start`` (in) to ``stop`` (out) of each axis, which must lie inside."""
        out = np.empty([b - a for a, b in zip(start, stop, strict=True)], self.dtype)
        if out.size == 0:
            return out
        axes = [_touched(*part) for part in zip(start, stop, self.shape, self.brick, strict=True)]
        last = axes.pop() if axes else [(0, 1, slice(1), slice(1))]
        try:
            with self.path.open("rb", buffering=0) as file:
                self._fill(out.reshape(out.shape or (1,)), axes, last, file)
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be read ({error.strerror}); prepare the cases again") from error
        return out

    def _fill(self, out: NDArray[Any], axes: Sequence[Axis], last: Axis, file: IO[bytes]) -> None:
        counts, offsets = _counts(self.shape, self.brick), self.offsets
        rooms: dict[tuple[int, ...], NDArray[Any]] = {}
        for outer in product(*axes):
            first = 0
            for (number, *_), count in zip(outer, counts[1:], strict=True):
                first = (first + number) * count
            # bricks that follow each other along the last axis do so in the file: one read for all of them
            low = first + last[0][0]
            begin, end = offsets[low], offsets[first + last[-1][0] + 1]
            file.seek(begin)
            row = memoryview(file.read(end - begin))
            _, extents, inside, where = zip(*outer, strict=True) if outer else ((), (), (), ())
            for place, (_, extent, part, to) in enumerate(last, start=low):
                shape = (*extents, extent)
                if shape not in rooms:
                    rooms[shape] = np.empty(shape, self.dtype)
                self._unpack(row[offsets[place] - begin : offsets[place + 1] - begin], rooms[shape], place)
                out[(*where, to)] = rooms[shape][(*inside, part)]

    def _unpack(self, packed: memoryview, brick: NDArray[Any], place: int) -> None:
        try:
            # Blosc2 trusts the lengths in a chunk's head; wrong ones would be read and written beyond it
            if _LENGTHS.unpack_from(packed, 4)[::2] == (brick.nbytes, len(packed)):
                _blosc().decompress2(packed, brick, nthreads=1)
                return
        except (struct.error, ValueError, RuntimeError):
            pass
        raise CacheError(f"{self.path}: brick {place} is damaged; prepare the cases again")


def write_bricks(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    """Write ``array`` to a new file and force it to disk.

    Args:
        path: The file; it must not exist.
        array: Of numbers or booleans, any shape.

    Returns:
        What `CachedArray.of` needs, as JSON can say it, and ``bytes`` and ``sha256`` of the file.

    Raises:
        OSError: As writing raises it; what has been written is left.
    """
    if array.dtype.kind not in "biuf":
        raise TypeError(f"arrays of type {array.dtype} are not kept; turn them into numbers")
    brick = _brick_shape(array.shape, array.dtype.itemsize)
    lengths = []
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for box in _boxes(array.shape, brick) if array.size else ():
            packed = _pack(array[box])
            lengths.append(len(packed))
            digest.update(packed)
            file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "brick": list(brick),
        "bricks": lengths,
        "bytes": sum(lengths),
        "sha256": digest.hexdigest(),
    }


def _pack(values: NDArray[Any]) -> bytes:
    blosc2 = _blosc()
    labels = values.dtype.itemsize == 1
    # of floats, bytes of equal weight are put together, without which LZ4 finds nothing in them;
    # of labels, it is worth looking for long runs, which are read faster
    settings = {
        "codec": blosc2.Codec.LZ4HC if labels else blosc2.Codec.LZ4,
        "filters": [blosc2.Filter.NOFILTER if labels else blosc2.Filter.SHUFFLE],
        "filters_meta": [0],
        "typesize": values.dtype.itemsize,
        "splitmode": blosc2.SplitMode.NEVER_SPLIT,
        "blocksize": _BRICK_BYTES,
        "nthreads": 1,
    }
    values = np.ascontiguousarray(values)
    packed = blosc2.compress2(values, clevel=3 if labels else 1, **settings)
    if len(packed) > _WORTH * values.nbytes:  # noise, which is read in a fraction of the time as it is
        packed = blosc2.compress2(values, clevel=0, **settings)
    return bytes(packed)


@cache
def _blosc() -> Any:
    import blosc2

    blosc2.set_releasegil(True)  # else one thread at a time decompresses, and all others stand still
    return blosc2


def _brick_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    if not shape:
        return ()
    if len(shape) < 3:
        row = max(1, math.prod(shape[1:]) * itemsize)
        return tuple(max(1, n) for n in (min(shape[0], _BRICK_BYTES // row), *shape[1:]))
    rows, columns = {1: (64, 64), 2: (32, 64)}.get(itemsize, (32, 32))
    volume = (32, rows, columns) if shape[-3] >= _THICK else (8, 64, columns)
    return (1,) * (len(shape) - 3) + tuple(max(1, min(n, b)) for n, b in zip(shape[-3:], volume, strict=True))


def _counts(shape: tuple[int, ...], brick: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // b) for n, b in zip(shape, brick, strict=True))


def _boxes(shape: tuple[int, ...], brick: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    axes = [[slice(a, a + b) for a in range(0, n, b)] for n, b in zip(shape, brick, strict=True)]
    return product(*axes)


def _touched(start: int, stop: int, size: int, brick: int) -> Axis:
    found = []
    for number in range(start // brick, -(-stop // brick)):
        begin = number * brick
        extent = min(brick, size - begin)
        low, high = max(start, begin), min(stop, begin + extent)
        found.append((number, extent, slice(low - begin, high - begin), slice(low - start, high - start)))
    return found


def _ranges(key: Any, shape: tuple[int, ...]) -> tuple[list[slice], set[int]]:
    """Start, stop and step of every axis, and the axes that a whole number takes away."""
    parts = list(key) if isinstance(key, tuple) else [key]
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), None)
    if at is not None:
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    if len(parts) > len(shape):
        raise IndexError(f"{len(parts)} indices for an array of {len(shape)} axes")
    parts += [slice(None)] * (len(shape) - len(parts))
    found, squeezed = [], set()
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step < 1:
                raise IndexError(f"axis {axis}: step {step}; only steps forward are read")
            found.append(slice(start, stop, step))
            continue
        index = part.__index__()
        if not -size <= index < size:
            raise IndexError(f"index {index} is outside axis {axis} of size {size}")
        index %= size
        found.append(slice(index, index + 1, 1))
        squeezed.add(axis)
    return found, squeezed
