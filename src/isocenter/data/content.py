"""What a case holds, as hashes: of the bytes of its files, never of their names, places or times.

Files are hashed once. A note beside the cache then says which content belongs to files of this size, time, and number
on disk; a file that was written in the last seconds gets none, because it could change again without its time doing so.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError
from isocenter.records import Annotation, Boxes, Case, ClassLabel, ImageRef, LabelMap, Masks, Points, Scalar

if TYPE_CHECKING:
    from isocenter.records import LabelSchema
    from isocenter.volume import Grid, Volume

__all__ = ["ContentHash", "digest_of"]

_SETTLED_NS = 2_000_000_000


def digest_of(facts: Any) -> str:
    """SHA-256, in hexadecimal, of what JSON can say.

    Example:
        >>> digest_of({"a": 1, "b": [0.1]}) == digest_of({"b": [0.1], "a": 1})
        True
    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ContentHash:
    """Hashes of cases.

    Attributes:
        notes: Folder that remembers hashes of files; ``None`` remembers nothing.

    Example:
        >>> label = ClassLabel(name="side", classes=("left", "right"), values=("left",), source="a.csv")
        >>> here, there = Case("a", "p", {}, (label,)), Case("b", "q", {}, (label,))
        >>> ContentHash().case(here) == ContentHash().case(there)
        True
    """

    notes: Path | None = None

    def case(
        self, case: Case, *, images: Iterable[str] | None = None, sets: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Facts about chosen images and annotations of a case; equal for equal content.

        Args:
            case: Its id, patient, attributes and priors take no part.
            images: Names; all where ``None``. Of other images that a chosen annotation lies on, the grid takes part.
            sets: Names of sets of annotations; all where ``None``.

        Raises:
            IsocenterError: A file is missing or damaged.
        """
        chosen = list(case.images) if images is None else [n for n in images if n in case.images]
        wanted = None if sets is None else set(sets)
        annotations = [a for a in case.annotations if wanted is None or a.name in wanted]
        under = {a.image for a in annotations if a.image in case.images} - set(chosen)
        return {
            "images": {name: self.image(case.images[name]) for name in chosen},
            "grids": {name: _grid(case.images[name].grid()) for name in sorted(map(str, under))},
            "annotations": [self.annotation(a) for a in annotations],
        }

    def image(self, ref: ImageRef) -> dict[str, Any]:
        """An image is known by its files and the settings of its reader; read, where either is not stated."""
        settings = _settings(ref.open, ref.files)
        if ref.files and settings is not None:
            return {"files": self.files(ref.files), "reader": settings}
        return _volume(ref.read())

    def annotation(self, annotation: Annotation) -> dict[str, Any]:
        """All that an annotation states but its source."""
        facts: dict[str, Any] = {"kind": type(annotation).__name__, "name": annotation.name, "image": annotation.image}
        match annotation:
            case LabelMap() | Masks():
                return facts | {"schema": _schema(annotation.schema), "voxels": self._voxels(annotation.read)}
            case Boxes():
                voxels = self._voxels(annotation.instances) if annotation.instances else None
                scores = [] if annotation.scores is None else [annotation.scores]
                arrays = [_array(a) for a in (annotation.corners, annotation.classes, *scores)]
                return facts | {"schema": _schema(annotation.schema), "arrays": arrays, "voxels": voxels}
            case Points():
                arrays = [_array(annotation.positions_mm), _array(annotation.classes)]
                return facts | {"schema": _schema(annotation.schema), "arrays": arrays}
            case ClassLabel():
                answer = (annotation.classes, annotation.values, annotation.exclusive, annotation.probabilities)
                return facts | {"answer": answer}
            case Scalar():
                number = (annotation.value, annotation.unit, annotation.interval, sorted(annotation.extra.items()))
                return facts | {"value": repr(number)}

    def _voxels(self, read: Callable[[], Volume]) -> dict[str, Any]:
        """A reader that is a dataclass with ``path`` or ``files`` is known by these; any other is called."""
        files = getattr(read, "files", None) or ((read.path,) if hasattr(read, "path") else ())
        settings = _settings(read, [str(f) for f in files])
        if files and settings is not None:
            return {"files": self.files([str(f) for f in files]), "reader": settings}
        return _volume(read())

    def files(self, paths: Sequence[str]) -> str:
        """Hash of the bytes of files, in order.

        Raises:
            FileFormatError: One cannot be read.
        """
        began = time.time_ns()
        try:
            stats = [os.stat(path) for path in paths]
            note = self._note(stats)
            known = _read_note(note) if note else None
            if known is not None:
                return known
            digest = digest_of([_file(path) for path in paths])
        except OSError as error:
            raise FileFormatError(f"{error.filename}: cannot be read ({error.strerror}); check the path") from error
        if note and all(max(s.st_mtime_ns, s.st_ctime_ns) < began - _SETTLED_NS for s in stats):
            _write_note(note, digest)
        return digest

    def _note(self, stats: Iterable[os.stat_result]) -> Path | None:
        if self.notes is None:
            return None
        state = digest_of([(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats])
        return self.notes / state[:2] / state


def _file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_note(note: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        text = note.read_text(encoding="ascii")
        return text if len(text) == 64 else None
    return None


def _write_note(note: Path, digest: str) -> None:
    with suppress(OSError):  # a note saves time, no more; half of one is none, and its other writers say the same
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(digest, encoding="ascii")


def _settings(reader: object, paths: Iterable[str]) -> dict[str, Any] | None:
    """Plain fields of a reader but its files; ``None`` where there may be more to it than these.

    What our own readers hold beside plain fields was itself read from the files.
    """
    if not is_dataclass(reader) or isinstance(reader, type):
        return None
    own = type(reader).__module__.startswith("isocenter.")
    known = set(paths)
    found: dict[str, Any] = {"class": f"{type(reader).__module__}.{type(reader).__qualname__}"}
    for field in fields(reader):
        value = getattr(reader, field.name)
        if _is_path(value, known):
            continue
        if isinstance(value, str | int | float | bool | None):
            found[field.name] = value
        elif hasattr(value, "structures"):
            found[field.name] = _schema(value)
        elif not own:
            return None
    return found


def _is_path(value: object, known: set[str]) -> bool:
    parts = value if isinstance(value, tuple | list) else [value]
    return bool(parts) and all(isinstance(p, str | os.PathLike) and os.fspath(p) in known for p in parts)


def _schema(schema: LabelSchema) -> dict[str, Any]:
    structures = [[s.name, list(s.values)] for s in schema.structures]
    return {"structures": structures, "exclusive": schema.exclusive, "ignore": schema.ignore}


def _volume(volume: Volume) -> dict[str, Any]:
    return {"array": _array(volume.array), "grid": _grid(volume.grid)}


def _grid(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": _array(grid.affine), "frame": grid.frame}


def _array(array: Any) -> Mapping[str, Any]:
    values = np.ascontiguousarray(array)
    digest = hashlib.sha256(values.reshape(-1).view(np.uint8).data).hexdigest()
    return {"shape": list(np.shape(array)), "dtype": values.dtype.str, "sha256": digest}
