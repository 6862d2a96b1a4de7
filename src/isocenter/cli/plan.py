"""The verb `plan` on the command line."""

from __future__ import annotations

import typer

from isocenter.cli.options import (
    Annotated,
    AnnotationName,
    BudgetTime,
    CacheFolder,
    DatasetPath,
    Device,
    Dimensions,
    Images,
    MeasuredSet,
    MemoryLimit,
    NetworkName,
    Overwrite,
    Path,
    Quiet,
    Settings,
    SplitsFile,
    Structures,
    Target,
    TaskName,
    plan_options,
    start_logging,
)
from isocenter.cli.progress import bars

__all__ = ["command"]


def command(
    dataset: DatasetPath,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Plan to write.")] = Path("plan.yaml"),
    task: TaskName = None,
    target: Target = None,
    image: Images = None,
    annotation: AnnotationName = None,
    structure: Structures = None,
    network: NetworkName = None,
    dimensions: Dimensions = None,
    measure: MeasuredSet = None,
    settings: Settings = None,
    splits: SplitsFile = None,
    budget: BudgetTime = None,
    memory: MemoryLimit = None,
    cache: CacheFolder = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Decide how a dataset is learned; each decision with its reason."""
    from isocenter.errors import ConfigError
    from isocenter.plan import write_plan
    from isocenter.workflow import plan as make_plan

    start_logging(quiet)
    if out.exists() and not overwrite:
        raise ConfigError(f"{out}: is there already; give another --out, or --overwrite")
    said = plan_options(
        task=task, target=target, image=image, annotation=annotation, structure=structure,
        network=network, dimensions=dimensions, measure=measure, settings=settings, budget=budget,
        memory=memory, cache=cache,
    )  # fmt: skip
    with bars(quiet) as progress:
        made = make_plan(dataset, splits=splits, device=device, progress=progress, **said)
    write_plan(made, out)
    if quiet:
        return
    for key, reason in made.reasons.items():
        typer.echo(f"{key}: {_value(made, key)}\n    {reason}")
    for one in made.budget.candidates if made.budget else ():
        typer.echo(
            f"candidate {one.name}: {one.seconds_per_step:.3g} s a step, {one.memory_gb:.2g} GB, {one.steps} steps:"
            f" {one.verdict}"
        )
    typer.echo(f"\nwritten to {out}; change what you like, then: isocenter fit {dataset} --plan {out} --out model")


def _value(plan: object, key: str) -> str:
    value = plan
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    text = " ".join(str(value.model_dump() if hasattr(value, "model_dump") else value).split())
    return text if len(text) <= 120 else text[:117] + "..."
