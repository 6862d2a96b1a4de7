"""Tables as CSV: plain strings, every defect named by line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_csv"]


def read_csv(path: str | Path) -> list[dict[str, str]]:
    r"""Rows of a comma-separated table (RFC 4180, UTF-8 with or without a byte-order mark).

    Blank lines are skipped; spaces round column names and values are removed.

    Returns:
        One mapping from column name to value a row, in the order of the file; an empty cell is ``""``.

    Raises:
        FileFormatError: The file is missing, empty, not text, has two columns of one name or a column without a
            name, or a row with more or fewer cells than the header.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "table.csv"
        >>> _ = path.write_text("case,patient,image.ct\na,p1,a.nii.gz\n")
        >>> read_csv(path)
        [{'case': 'a', 'patient': 'p1', 'image.ct': 'a.nii.gz'}]
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _rows(path, file)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(f"{path}: not a UTF-8 CSV table ({error}); save it as CSV in UTF-8") from error


def _rows(path: str | Path, file: Iterable[str]) -> list[dict[str, str]]:
    reader = csv.reader(file, strict=True)
    header: list[str] | None = None
    rows: list[dict[str, str]] = []
    for cells in reader:
        if any("\0" in cell for cell in cells):
            raise csv.Error(f"NUL byte in line {reader.line_num}")
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if header is None:
            header = _header(path, cells)
        elif len(cells) != len(header):
            raise FileFormatError(
                f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)};"
                " add or remove cells, or quote values that hold a comma"
            )
        else:
            rows.append(dict(zip(header, cells, strict=True)))
    if not rows:
        raise FileFormatError(f"{path}: the table has no rows; a header line and one line a case are needed")
    return rows


def _header(path: str | Path, cells: list[str]) -> list[str]:
    doubled = sorted({name for name in cells if cells.count(name) > 1 and name})
    if doubled:
        raise FileFormatError(f"{path}: column {doubled[0]!r} appears {cells.count(doubled[0])} times; rename one")
    if "" in cells:
        raise FileFormatError(f"{path}: column {cells.index('') + 1} has no name; name it or remove it")
    return cells
