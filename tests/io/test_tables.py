"""Tables as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.io.tables import read_csv
from isocenter.records import FileFormatError

CELL = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


def _write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(st.lists(st.tuples(CELL, CELL | st.just("")), min_size=1, max_size=5))
def test_reads_what_csv_writes(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("case", "x, y"), *rows])
    assert read_csv(path) == [{"case": a, "x, y": b} for a, b in rows]


def test_byte_order_mark_blank_lines_and_spaces(tmp_path: Path) -> None:
    path = _write(tmp_path, b"\xef\xbb\xbfcase, image.ct \r\n\r\n a ,b\r\n")
    assert read_csv(path) == [{"case": "a", "image.ct": "b"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no rows"),
        ("case,patient\n", "no rows"),
        ("case,case\na,b\n", "'case' appears 2 times"),
        ("case,\na,b\n", "column 2 has no name"),
        ("case,patient\na,b\nc\n", "line 3: 1 cells, the header has 2"),
        ('case,patient\n"a\nb",c\nd,e,f\n', "line 4: 3 cells"),
        ('case\n"a\n', "not a UTF-8 CSV"),
        (b"case\n\xff\n", "not a UTF-8 CSV"),
        ("case\na\x00b\n", "not a UTF-8 CSV"),
    ],
)
def test_defects_are_named(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(FileFormatError, match=words) as caught:
        read_csv(path)
    assert str(path) in str(caught.value)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_csv(tmp_path)
