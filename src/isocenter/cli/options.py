"""Options that several verbs share."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isocenter.workflow.planning import PlanOptions

__all__ = [
    "Annotated",
    "AnnotationName",
    "BudgetTime",
    "CacheFolder",
    "DatasetPath",
    "Device",
    "Dimensions",
    "Images",
    "Json",
    "MeasuredSet",
    "MemoryLimit",
    "NetworkName",
    "Overwrite",
    "Path",
    "Quiet",
    "Settings",
    "SplitsFile",
    "Structures",
    "Target",
    "TaskName",
    "plan_options",
    "start_logging",
]

DatasetPath = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a dataset, or a table file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no closing words.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the plan, e.g. training.steps=500; repeatable."),
]
SplitsFile = Annotated[
    Path | None, typer.Option("--splits", metavar="FILE", help="JSON file of splits: part to case or patient ids.")
]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="segmentation (default), detection, classification, or a registered one."),
]
Target = Annotated[
    str | None, typer.Option("--target", help="Question of a classification: class.<TARGET> of the table.")
]
Images = Annotated[
    list[str] | None, typer.Option("--image", help="Image that the model reads; repeatable, the reference first.")
]
AnnotationName = Annotated[
    str | None, typer.Option("--annotation", help="Set of annotations that is the truth; main by default.")
]
Structures = Annotated[
    list[str] | None, typer.Option("--structure", help="Kind of object that a detection looks for; repeatable.")
]
NetworkName = Annotated[
    str | None, typer.Option("--network", metavar="NAME", help="Family of networks; the planner chooses by default.")
]
Dimensions = Annotated[
    int | None, typer.Option("--dimensions", metavar="2|3", min=2, max=3, help="Of the network's convolutions.")
]
MeasuredSet = Annotated[
    str | None,
    typer.Option("--measure", metavar="SET", help="Set of masks whose volumes and ratios the network reads too."),
]
BudgetTime = Annotated[
    str | None,
    typer.Option(
        "--budget", metavar="TIME", help="Wall time of a whole fit, e.g. 10min: plans are timed here and one is chosen."
    ),
]
MemoryLimit = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Highest memory of a fit within a budget, e.g. 4GB.")
]
CacheFolder = Annotated[
    Path | None,
    typer.Option("--cache", metavar="FOLDER", help="Keep prepared cases here for later fits; thrown away by default."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def start_logging(quiet: bool) -> None:
    """Warnings (cases left out, and why) go to stderr, one line each."""
    logging.basicConfig(level=logging.ERROR if quiet else logging.WARNING, format="%(levelname)s: %(message)s")
    for name in ("lightning", "lightning.fabric", "lightning.pytorch", "matplotlib", "pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.ERROR)


def plan_options(
    *,
    task: str | None,
    target: str | None,
    image: list[str] | None,
    annotation: str | None,
    structure: list[str] | None,
    network: str | None,
    dimensions: int | None,
    measure: str | None,
    settings: list[str] | None,
    budget: str | None,
    memory: str | None,
    cache: Path | None,
) -> PlanOptions:
    """What was said on the command line; the rest is left to the verb."""
    said: PlanOptions = {
        "target": target,
        "images": image or (),
        "structures": structure or (),
        "network": network,
        "measure": measure,
        "dimensions": dimensions,  # type: ignore[typeddict-item] # typer has seen to it
        "settings": settings or (),
        "budget": budget,
        "memory": memory,
        "cache": cache,
    }
    if task is not None:
        said["task"] = task
    if annotation is not None:
        said["annotation"] = annotation
    return said
