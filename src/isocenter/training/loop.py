"""The loop around a strategy's steps, on Lightning Fabric: devices, precision and distribution come from there.

Fabric rather than Trainer, because strategies own their backward pass and because batches are a pure function of the
step: with Trainer both would have to be worked around, and more of the code would be ours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from isocenter.errors import ValueRangeError
from isocenter.inference import resolve_precision
from isocenter.networks import build_network
from isocenter.plan import Plan, dump_plan
from isocenter.training.checkpoint import read_checkpoint, write_checkpoint
from isocenter.training.contract import Batch, SampleSource, StepContext, Strategy, build_strategy
from isocenter.training.prefetch import prefetch
from isocenter.training.schedule import one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning.fabric import Fabric

    from isocenter.tasks import Task

__all__ = ["CHECKPOINT", "Progress", "TrainingRun", "train"]

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Progress:
    """What a fit tells while it runs.

    Attributes:
        step: Steps done.
        steps: In all.
        figures: Latest ``loss``, ``score`` (live training figure, 0 to 1), ``validation`` (mean over validation cases).
    """

    step: int
    steps: int
    figures: Mapping[str, float]


@dataclass
class TrainingRun:
    """What came of a fit.

    Attributes:
        network: To deploy, in evaluation mode, on the CPU.
        history: One row a validation or log point.
        seconds: Wall time of the steps.
    """

    network: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    plan: Plan,
    task: Task,
    data: Mapping[str, SampleSource],
    *,
    folder: Path,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Callable[[Progress], None] | None = None,
    resume: bool = False,
    device: str = "auto",
) -> TrainingRun:
    """Run the plan's strategy for the plan's steps.

    Args:
        plan: Every decision.
        task: Built from the plan.
        data: Prepared samples by name; ``"train"`` at least.
        folder: For checkpoints and TensorBoard files.
        validate: Scores the deployable network in 0..1; called ``training.validations`` times.
        progress: Called after every step.
        resume: Go on from the checkpoint in ``folder``, where there is one.
        device: Fabric accelerator: ``"auto"``, ``"cpu"``, ``"cuda"``.

    Raises:
        ValueRangeError: The loss is not finite.
        ModelIntegrityError: A checkpoint that cannot be resumed from.
    """
    with _threads(plan.training.threads):
        fabric = _fabric(plan, device)
        return _Loop(plan, task, fabric, folder, validate, progress).run(data, resume=resume)


class _Loop:
    def __init__(
        self,
        plan: Plan,
        task: Task,
        fabric: Fabric,
        folder: Path,
        validate: Callable[[nn.Module], float] | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.plan, self.task, self.fabric, self.folder = plan, task, fabric, folder
        self.validate, self.progress = validate, progress
        self.strategy: Strategy = build_strategy(plan, task)
        torch.manual_seed(plan.training.seed)
        network = build_network(plan.network, plan.inputs, task.heads())
        self.modules: Any = self.strategy.modules(plan, network)
        self.optimizers: Any = dict(self.strategy.optimizers(self.modules))
        self.figures: dict[str, float] = {}

    def run(self, data: Mapping[str, SampleSource], *, resume: bool) -> TrainingRun:
        text = _origin(self.plan, data)
        file = self.folder / CHECKPOINT
        done = 0
        if not resume:
            file.unlink(missing_ok=True)  # or a later resume could take it for one of this fit
        elif file.exists():
            done = read_checkpoint(file, self.modules, self.optimizers, plan=text)
            log.info("resumed after step %d", done)
        self.modules = nn.ModuleDict({k: self.fabric.setup_module(m) for k, m in self.modules.items()})
        self.optimizers = {k: self.fabric.setup_optimizers(o) for k, o in self.optimizers.items()}
        streams = self.strategy.streams(data)
        steps = self.plan.training.steps
        result = TrainingRun(nn.Identity())
        began, saved = time.perf_counter(), time.perf_counter()
        batches = prefetch(
            lambda step: {name: stream.batch(step) for name, stream in streams.items()},
            range(done, steps), self.plan.training.workers,
        )  # fmt: skip
        with _tensorboard(self.folder) as board, closing(batches):
            for step, batch in enumerate(batches, start=done):
                self._step(step, batch)
                if self._is_due(step + 1) and self.validate is not None:
                    self.figures["validation"] = self.validate(self._deployable())
                    result.history.append({"step": step + 1, **self.figures})
                    board(step + 1, self.figures)
                elif (step + 1) % 20 == 0:
                    board(step + 1, self.figures)
                if time.perf_counter() - saved > CHECKPOINT_SECONDS and step + 1 < steps:
                    self._save(file, step + 1, text)
                    saved = time.perf_counter()
                if self.progress is not None:
                    self.progress(Progress(step + 1, steps, dict(self.figures)))
        result.seconds = time.perf_counter() - began
        result.network = self._deployable().cpu().eval()
        return result

    def _step(self, step: int, batches: Mapping[str, Batch]) -> None:
        spec = self.plan.training
        rate = one_cycle(step, spec.steps, spec.warmup)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
        # dropout and the like draw from here: keyed by the step, not by what ran before
        torch.manual_seed(spec.seed * 1_000_003 + step)
        self.modules.train()
        context = StepContext(step, spec.steps, self.task, self.optimizers, self.fabric.backward, self._update)
        figures = self.strategy.step(self.modules, self.fabric.to_device(dict(batches)), context)
        for name, value in figures.items():
            number = float(value)
            if name == "loss" and not math.isfinite(number):
                raise ValueRangeError(
                    f"step {step + 1}: the loss is not finite;"
                    " lower training.learning_rate or set training.precision=fp32"
                )
            old = self.figures.get(name, number)
            self.figures[name] = 0.95 * old + 0.05 * number

    def _update(self, name: str) -> None:
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, self.plan.training.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _is_due(self, done: int) -> bool:
        times, steps = self.plan.training.validations, self.plan.training.steps
        return times > 0 and (done * times // steps) > ((done - 1) * times // steps)

    def _deployable(self) -> nn.Module:
        module = self.strategy.deployable(self.modules)
        plain: nn.Module = getattr(module, "module", module)
        return plain

    def _save(self, file: Path, done: int, text: str) -> None:
        bare = nn.ModuleDict({k: getattr(m, "module", m) for k, m in self.modules.items()})
        write_checkpoint(file, bare, self.optimizers, step=done, plan=text)


def _origin(plan: Plan, data: Mapping[str, SampleSource]) -> str:
    """What a checkpoint must come from to be resumed: the plan, and the cases in their order."""
    cases = {name: [source[k].case.id for k in range(len(source))] for name, source in sorted(data.items())}
    return f"{dump_plan(plan)}# cases: {hashlib.sha256(json.dumps(cases).encode()).hexdigest()}\n"


def _fabric(plan: Plan, device: str) -> Fabric:
    # Lightning announces its precision on handlers of its own
    for name in ("lightning.fabric", "lightning.pytorch.utilities.rank_zero", "lightning_utilities.core.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from lightning.fabric import Fabric

    kind = device
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(plan.training.precision, kind)
    return Fabric(accelerator=kind, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true")


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    try:
        yield write
    finally:
        writer.close()
