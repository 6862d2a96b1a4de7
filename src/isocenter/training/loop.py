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
from torch import Tensor, nn

from isocenter.errors import ConfigError, ModelIntegrityError, StoppedError, ValueRangeError
from isocenter.inference import resolve_precision
from isocenter.networks import build_network
from isocenter.plan import Plan, dump_plan
from isocenter.training.checkpoint import read_checkpoint, write_checkpoint
from isocenter.training.contract import Batch, SampleSource, StepContext, Strategy, build_strategy
from isocenter.training.prefetch import prefetch
from isocenter.training.schedule import one_cycle
from isocenter.training.stopping import hear_stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        history: One row a validation.
        seconds: Wall time of the steps, those before an interruption included.
        steps: Steps done: fewer than planned where the time ran out.
    """

    network: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0


def train(  # noqa: PLR0913 all but the first three are what surrounds a fit, by name
    plan: Plan,
    task: Task,
    data: Mapping[str, SampleSource],
    *,
    folder: Path,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Callable[[Progress], None] | None = None,
    resume: bool = False,
    device: str = "auto",
    seconds: float | None = None,
    start: Mapping[str, Tensor] | None = None,
    pause: Callable[[int], bool] | None = None,
) -> TrainingRun:
    """Run the plan's strategy for the plan's steps.

    A checkpoint is written every minute, when a stop is asked for, and after the last step. From any of them a fit
    goes on to the weights that an unbroken one would have had.

    Args:
        plan: Every decision.
        task: Built from the plan.
        data: Prepared samples by name; ``"train"`` at least.
        folder: For checkpoints and TensorBoard files.
        validate: Scores the deployable network in 0..1; called ``training.validations`` times.
        progress: Called after every step.
        resume: Go on from the checkpoint in ``folder``, where there is one.
        device: Fabric accelerator: ``"auto"``, ``"cpu"``, ``"cuda"``.
        seconds: Wall time after which the remaining steps are left out. The schedule is not bent, so plan steps
            that fit; this is for a machine that turned out slower.
        start: Weights of the network to begin with, those of an earlier fit, instead of random ones.
        pause: Asked after every step, with the steps done: whether the others are left to a later ``resume``.

    Raises:
        ValueRangeError: The loss is not finite.
        ModelIntegrityError: A checkpoint that cannot be resumed from, or ``start`` of another network.
        ConfigError: The folder cannot be written to, or its disk is full; the last checkpoint is whole.
        StoppedError: Ctrl-C or SIGTERM; the steps done are in the checkpoint.
    """
    with _threads(plan.training.threads), hear_stop() as stopped:
        loop = _Loop(plan, task, _fabric(plan, device), folder, start)
        return loop.run(data, _Calls(validate, progress, stopped, seconds, pause), resume=resume)


@dataclass(frozen=True)
class _Calls:
    validate: Callable[[nn.Module], float] | None
    progress: Callable[[Progress], None] | None
    stopped: Callable[[], bool]
    seconds: float | None
    pause: Callable[[int], bool] | None = None


class _Loop:
    def __init__(
        self, plan: Plan, task: Task, fabric: Fabric, folder: Path, start: Mapping[str, Tensor] | None
    ) -> None:
        self.plan, self.task, self.fabric, self.folder = plan, task, fabric, folder
        self.strategy: Strategy = build_strategy(plan, task)
        torch.manual_seed(plan.training.seed)
        network = build_network(plan.network, plan.inputs, task.heads())
        if start is not None:
            _load_start(network, start)
        self.modules: Any = self.strategy.modules(plan, network)
        self.optimizers: Any = dict(self.strategy.optimizers(self.modules))
        self.figures: dict[str, float] = {}
        self.result = TrainingRun(nn.Identity())
        self.origin, self.saved = "", 0

    def run(self, data: Mapping[str, SampleSource], calls: _Calls, *, resume: bool) -> TrainingRun:
        self.origin = _origin(self.plan, data)
        self._restore(resume)
        self.modules = nn.ModuleDict({k: self.fabric.setup_module(m) for k, m in self.modules.items()})
        self.optimizers = {k: self.fabric.setup_optimizers(o) for k, o in self.optimizers.items()}
        streams = self.strategy.streams(data)
        batches = prefetch(
            lambda step: {name: stream.batch(step) for name, stream in streams.items()},
            range(self.saved, self.plan.training.steps), self.plan.training.workers,
        )  # fmt: skip
        with _curves(self.folder, self._kept) as curves, closing(batches):
            if not (self.saved and calls.pause is not None and calls.pause(self.saved)):
                self._steps(batches, calls, curves)
        self.result.network = self._deployable().cpu().eval()
        return self.result

    def _steps(self, batches: Iterable[Mapping[str, Batch]], calls: _Calls, curves: Curves) -> None:
        steps, before = self.plan.training.steps, self.result.seconds
        began = written = time.perf_counter()
        for step, batch in enumerate(batches, start=self.saved):
            self._step(step, batch)
            done = step + 1
            if self._is_due(done) and calls.validate is not None:
                self.figures["validation"] = calls.validate(self._deployable())
                self.result.history.append({"step": done, **self.figures})
                curves(done, self.figures)
            elif done % 20 == 0:
                curves(done, self.figures)
            now = time.perf_counter()
            self.result.seconds, self.result.steps = before + now - began, done
            over = calls.seconds is not None and self.result.seconds > calls.seconds
            over = over or (calls.pause is not None and calls.pause(done))
            stop = calls.stopped()
            if now - written > CHECKPOINT_SECONDS or done == steps or over or stop:
                self._save(done)
                written = now
            if calls.progress is not None:
                calls.progress(Progress(done, steps, dict(self.figures)))
            if stop and done < steps:
                raise StoppedError(f"stopped after step {done} of {steps}; {self._kept()}")
            if over:
                return

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

    def _restore(self, resume: bool) -> None:
        file = self.folder / CHECKPOINT
        if not resume:
            file.unlink(missing_ok=True)  # or a later resume could take it for one of this fit
        elif file.exists():
            self.saved, facts = read_checkpoint(file, self.modules, self.optimizers, plan=self.origin)
            self.figures, self.result.history = facts["figures"], facts["history"]
            self.result.seconds, self.result.steps = facts["seconds"], self.saved
            log.info("resumed after step %d", self.saved)

    def _save(self, done: int) -> None:
        bare = nn.ModuleDict({k: getattr(m, "module", m) for k, m in self.modules.items()})
        facts = {"figures": self.figures, "history": self.result.history, "seconds": self.result.seconds}
        try:
            write_checkpoint(
                self.folder / CHECKPOINT, bare, self.optimizers, step=done, plan=self.origin, facts=facts
            )  # fmt: skip
        except ConfigError as error:
            raise ConfigError(f"after step {done}: {error}; {self._kept()}") from error
        self.saved = done

    def _kept(self) -> str:
        if not self.saved:
            return "nothing is kept yet: start anew"
        return f"step {self.saved} is kept: go on from it with --resume"


def _load_start(network: nn.Module, start: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(start)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:300]
        raise ModelIntegrityError(f"the weights to start from do not fit the plan's network ({text})") from None


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


Curves = Callable[[int, Mapping[str, float]], None]


@contextmanager
def _curves(folder: Path, kept: Callable[[], str]) -> Iterator[Curves]:
    """What writes figures for TensorBoard; its writer has a thread of its own, whose failures come up late."""
    from torch.utils.tensorboard import SummaryWriter

    @contextmanager
    def refused() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be written ({error.strerror}); {kept()}") from error

    with refused():
        writer = SummaryWriter(str(folder / "tensorboard"))

    def write(step: int, figures: Mapping[str, float]) -> None:
        with refused():
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

    try:
        yield write
    finally:
        with refused():
            writer.close()
