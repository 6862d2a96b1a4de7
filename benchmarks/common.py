"""What every benchmark shares: where the real data lies, and how a result file is written."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def data_folder() -> Path:
    """Where real data lies, if it is there."""
    return Path(os.environ.get("ISOCENTER_TEST_DATA", ROOT.parent / "shared" / "data"))


def real_data(name: str) -> Path:
    """Folder of a real dataset; the benchmark ends with a word, and without failing, where it is absent."""
    base = data_folder()
    if not (base / name).is_dir():
        print(f"skipped: {name} is not at hand; set ISOCENTER_TEST_DATA to the folder of real data")
        sys.exit(0)
    return base / name


def row(
    name: str, value: float, unit: str, *, spread: Sequence[float] | None = None, least: float | None = None,
    most: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One row; ``least`` or ``most`` is the target, and whether it was reached follows from it."""
    found: dict[str, Any] = {"name": name, "value": value, "unit": unit, "spread": list(spread) if spread else None}
    if least is not None:
        found |= {"target": f">= {least:g}", "reached": value >= least}
    if most is not None:
        found |= {"target": f"<= {most:g}", "reached": value <= most}
    return found


def write_result(
    name: str,
    *,
    title: str,
    about: str,
    rows: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """``benchmarks/results/<name>.json``, with the machine and the versions that made it.

    ``tables`` are shown below the rows; each has a ``title``, ``columns`` and ``lines`` of as many texts.
    """
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    result = {
        "title": title,
        "about": about,
        "machine": f"{len(os.sched_getaffinity(0))} cores of {processor}",
        "versions": {p: version(p) for p in ("isocenter", "torch", "numpy", "scipy")},
        "rows": list(rows),
    }
    if tables:
        result["tables"] = list(tables)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")
    return path
