"""The demo as a newcomer runs it: time, and Dice of organs on studies the model never saw."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import row, write_result


def main() -> None:
    """Run `isocenter demo` and read what it wrote."""
    command = [str(Path(sys.executable).with_name("isocenter")), "demo", "--quiet", "--out"]
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "demo"
        began = time.perf_counter()
        subprocess.run([*command, str(out)], check=True)
        minutes = (time.perf_counter() - began) / 60
        figures = json.loads((out / "metrics.json").read_text())
    summary = figures["summary"]
    rows = [
        row("whole demo", minutes, "min", most=8),
        row("mean Dice over organs", summary["dice"], "", spread=summary["dice_interval"], least=0.90),
        *(row(f"Dice, {n.replace('_', ' ')}", s["dice"], "") for n, s in figures["structures"].items()),
    ]
    write_result(
        "demo",
        title="The demo",
        about=f"{__doc__.strip()} Simulated thoraces; {summary['cases']} unseen studies. Spread: 95 % interval.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
