"""Make docs/benchmarks.md from benchmarks/results/*.json.

A result file is an object with `rows`, each with `name`, `value`, `unit`, `spread` and, where there is one, `target`
and `reached`; and, if the benchmark gives them, `title`, `about` (what was compared, and how), `machine`, `versions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """\
# Benchmarks

This page is made from `benchmarks/results/*.json` by `benchmarks/render.py`; no figure is typed by hand. `make bench`
runs every benchmark and makes it anew. A target that was not reached is shown as such.
"""
TABLE = """\
| what | value | unit | spread | target | reached |
|---|---|---|---|---|---|
"""


def cell(value: object) -> str:
    """Text of one table cell: numbers to four digits, yes and no for truth values, nothing for what is absent."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " to ".join(cell(part) for part in value)
    return str(value).replace("|", "\\|")


def section(name: str, result: Mapping[str, Any]) -> str:
    """Markdown of one result file."""
    parts = [f"## {result.get('title', name)}\n"]
    if "about" in result:
        parts.append(f"{result['about']}\n")
    columns = ("name", "value", "unit", "spread", "target", "reached")
    lines = ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |\n" for row in result["rows"]]
    parts.append(TABLE + "".join(lines))
    parts += [more(table) for table in result.get("tables", ())]
    versions = ", ".join(f"{package} {version}" for package, version in result.get("versions", {}).items())
    made_on = "; ".join(str(part) for part in (result.get("machine"), versions) if part)
    if made_on:
        parts.append(f"Measured on: {made_on}.\n")
    return "\n".join(parts)


def more(table: Mapping[str, Any]) -> str:
    """Markdown of a table of texts."""
    rows = [table["columns"], ["---"] * len(table["columns"]), *table["lines"]]
    return f"### {table['title']}\n\n" + "".join("| " + " | ".join(cell(text) for text in row) + " |\n" for row in rows)


def render(results: Path = RESULTS) -> str:
    """The whole page, from every result file in name order."""
    files = sorted(results.glob("*.json"))
    sections = [section(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return "\n".join([HEAD, *(sections or ["No results yet.\n"])])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
