"""Time and memory of a plan's steps, measured by running them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
import torch

from isocenter.inference import Engine
from isocenter.networks import build_network
from isocenter.pipeline import Pipeline, Sample
from isocenter.plan import Plan
from isocenter.training import Progress, SampleSource, train

__all__ = ["Timing", "predicting_seconds", "time_steps"]

WARM_UP = 2
"""First steps that are not counted: memory is claimed and convolutions are compiled then."""


@dataclass(frozen=True)
class Timing:
    """What a step takes.

    Attributes:
        seconds_per_step: Median.
        memory_gb: See `isocenter.plan.CandidateSpec`.
    """

    seconds_per_step: float
    memory_gb: float


def time_steps(
    plan: Plan, samples: SampleSource, *, device: str = "auto", steps: int = 8, seconds: float = 20.0
) -> Timing:
    """Run a few steps of a plan as a fit would, and throw the weights away.

    The median is of the later half: steps get faster for a while, as memory and processor settle.

    Args:
        plan: To be timed.
        samples: Prepared training samples.
        device: As in `isocenter.training.train`.
        steps: To count, after the warm-up.
        seconds: Stop earlier when this is over; at least one step is counted.
    """
    ends: list[float] = []

    def note(state: Progress) -> None:
        ends.append(time.perf_counter())

    short = plan.model_copy(
        update={"training": plan.training.model_copy(update={"steps": WARM_UP + steps, "validations": 0})}
    )
    task = Pipeline(short).task
    with tempfile.TemporaryDirectory() as folder, _peak_memory() as peak:
        began = time.perf_counter()
        train(short, task, {"train": samples}, folder=Path(folder), device=device, progress=note, seconds=seconds)
    marks = [began, *ends]
    taken = [b - a for a, b in pairwise(marks)]
    counted = sorted(taken[max(WARM_UP, len(taken) // 2) :] or taken[-1:])
    return Timing(counted[len(counted) // 2], peak[0])


def predicting_seconds(plan: Plan, samples: Sequence[Sample], *, device: str = "cpu") -> float:
    """Mean time to predict one of a few prepared samples, with random weights; the first is a warm-up."""
    pipeline = Pipeline(plan)
    with torch.random.fork_rng(devices=[]):
        network = build_network(plan.network, plan.inputs, pipeline.task.heads())
    engine = Engine(pipeline, network.to(device), device=device)
    engine.predict(samples[0])
    began = time.perf_counter()
    for sample in samples:
        engine.predict(sample)
    return (time.perf_counter() - began) / len(samples)


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Highest memory in GB while the block runs, in the one-element list once it has ended."""
    found = [0.0]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    done = threading.Event()
    process = psutil.Process()

    def watch() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], process.memory_info().rss / 1e9)

    watcher = threading.Thread(target=watch, name="isocenter-memory", daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            found[0] = torch.cuda.max_memory_allocated() / 1e9
