"""The loop, its batches and its checkpoints; kinds of steps live in `isocenter.strategies`."""

from isocenter.training.average import update_average
from isocenter.training.checkpoint import read_checkpoint, write_checkpoint
from isocenter.training.contract import (
    Batch,
    SampleSource,
    StepContext,
    Strategy,
    Stream,
    build_strategy,
    strategies,
    strategy,
)
from isocenter.training.loop import CHECKPOINT, Progress, TrainingRun, train
from isocenter.training.patches import PatchStream, keyed_generator
from isocenter.training.prefetch import prefetch
from isocenter.training.schedule import one_cycle
from isocenter.training.stopping import hear_stop

__all__ = [
    "CHECKPOINT",
    "Batch",
    "PatchStream",
    "Progress",
    "SampleSource",
    "StepContext",
    "Strategy",
    "Stream",
    "TrainingRun",
    "build_strategy",
    "hear_stop",
    "keyed_generator",
    "one_cycle",
    "prefetch",
    "read_checkpoint",
    "strategies",
    "strategy",
    "train",
    "update_average",
    "write_checkpoint",
]
