"""The verb `evaluate` on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from isocenter.cli.options import Annotated, DatasetPath, Json, Path, Quiet, SplitsFile, start_logging
from isocenter.cli.progress import bars

__all__ = ["command", "show"]

SHOWN = {
    "dice": "Dice",
    "hd95_mm": "HD95 mm",
    "nsd": "NSD",
    "volume_error_ml": "vol. error ml",
    "accuracy": "accuracy",
    "auc": "AUC",
    "ap": "AP",
    "cpm": "CPM",
}
PIPE_WIDTH = 140
COUNTS = ("missed", "false", "cases")


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    dataset: DatasetPath,
    split: Annotated[str | None, typer.Option("--split", help="Part of the dataset; all cases by default.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Figures to write.")] = Path("metrics.json"),
    by: Annotated[list[str] | None, typer.Option("--by", metavar="ATTRIBUTE", help="Group by it; repeatable.")] = None,
    splits: SplitsFile = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a model with the truth of cases."""
    from isocenter.workflow import evaluate

    start_logging(quiet)
    with bars(quiet) as progress:
        figures = evaluate(
            model, dataset, split=split, splits=splits, by=by or (), out=out, device=device, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(figures, indent=2, sort_keys=True))
    elif not quiet:
        show(figures)
        typer.echo(f"written to {out}")


def show(figures: Mapping[str, Any]) -> None:
    """Print the tables of ``metrics.json``."""
    from rich.console import Console
    from rich.table import Table

    columns = _columns(figures["summary"])
    rows = {**figures["structures"], "mean": figures["summary"]}
    for attribute, values in figures.get("groups", {}).items():
        rows |= {f"{attribute}={value}": table for value, table in values.items()}
    table = Table("")
    for name in columns:
        table.add_column(SHOWN.get(name, name), justify="right", no_wrap=True)
        if figures["summary"].get(f"{name}_interval"):
            table.add_column("95 %", justify="right", no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in rows.items():
        cells: list[str] = []
        for column in columns:
            cells.append(_number(row.get(column)))
            if figures["summary"].get(f"{column}_interval"):
                cells.append(" to ".join(_number(end) for end in row.get(f"{column}_interval") or [None]))
        table.add_row(name, *cells, *(str(row.get(c, "")) for c in COUNTS))
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:  # a pipe has no width of its own; cut to 80 columns, figures would be lost
        console.width = PIPE_WIDTH
    console.print(table)
    for problem in figures.get("problems", []):
        console.print(f"left out: {problem}", markup=False)


def _columns(summary: Mapping[str, Any]) -> list[str]:
    """The figures of the built-in tasks that there are, else the first four of a task from outside."""
    known = [name for name in SHOWN if summary.get(name) is not None]
    own = [name for name, value in summary.items() if isinstance(value, float)]
    return known or own[:4]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
