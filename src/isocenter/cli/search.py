"""The verb `search` on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from isocenter.cli.options import (
    Annotated,
    AnnotationName,
    CacheFolder,
    DatasetPath,
    Device,
    Dimensions,
    Images,
    MeasuredSet,
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

if TYPE_CHECKING:
    from isocenter.regimes import SearchRun

__all__ = ["command"]


def command(
    dataset: DatasetPath,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Plan to write.")] = Path("plan.yaml"),
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="TIME", help="Wall time of the search, e.g. 60min; becomes trials and steps."),
    ] = None,
    latency: Annotated[
        str | None, typer.Option("--latency", metavar="TIME", help="Highest time to predict a case here, e.g. 0.5s.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Highest memory of training here, e.g. 4GB.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Plans that are trained; with a budget: of how many.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Steps of the best trials; those of the plan at most.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over", metavar="KEY=V1,V2", help="Values to try: width, depth, or any key of the plan; repeatable."
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option("--space", metavar="FILE", help="YAML file of values to try, by key.")
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe or random.")] = "tpe",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampler.")] = 0,
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
    cache: CacheFolder = None,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted search left in <out>.search.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Try plans within limits of latency and memory; write the best one, and what the search cost."""
    from isocenter.regimes import SearchSpace
    from isocenter.workflow import search

    start_logging(quiet)
    words = SearchSpace.of_words(over or ())
    chosen: Any = sampler  # checked by the verb
    said = plan_options(
        task=task, target=target, image=image, annotation=annotation, structure=structure,
        network=network, dimensions=dimensions, measure=measure, settings=settings, budget=budget,
        memory=memory, cache=cache,
    )  # fmt: skip
    with bars(quiet) as progress:
        found = search(
            dataset, out=out, splits=splits, resume=resume, device=device, progress=progress, latency=latency,
            trials=trials, steps=steps, space=SearchSpace.read(space).narrowed(words) if space else words,
            sampler=chosen, seed=seed, overwrite=overwrite, **said,
        )  # fmt: skip
    if not quiet:
        _tell(found)
        typer.echo(f"\nwritten to {out}; next: isocenter fit {dataset} --plan {out} --out model")


def _tell(found: SearchRun) -> None:
    rules = found.trials[0].choice
    for trial in found.trials:
        changed = ", ".join(f"{k}={v}" for k, v in trial.choice.items() if v != rules[k]) or "by rules"
        takes = f", {trial.footing.latency_s:.3g} s a case, {trial.footing.memory_gb:.2g} GB" if trial.footing else ""
        score = f", {trial.score:.3f} after {trial.steps} steps" if trial.score is not None else ""
        typer.echo(f"trial {trial.number} ({changed}){takes}{score}: {trial.verdict}")
    typer.echo(found.reason)
