"""Whatever ends a fit early, what it leaves is whole, and going on from it gives the weights of an unbroken one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_fit import assert_same_weights, case_of, fit, plan_of

from isocenter.errors import ConfigError, ModelIntegrityError, StoppedError
from isocenter.pipeline import Pipeline, Sample
from isocenter.training import CHECKPOINT, Progress

CHILD = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from isocenter.training import loop
from tests.training.test_fit import case_of, fit, plan_of
from isocenter.pipeline import Pipeline
loop.CHECKPOINT_SECONDS = 0.05
folder, steps = Path(sys.argv[1]), int(sys.argv[2])
plan = plan_of(workers=2, steps=steps)
samples = [Pipeline(plan).prepare(case_of(seed), targets=True) for seed in range(3)]
print("ready", flush=True)
run = fit(plan, samples, folder, resume=True)
save_file(run.network.state_dict(), folder / "weights.safetensors")
"""
STEPS = 60


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    pipeline = Pipeline(plan_of())
    return [pipeline.prepare(case_of(seed), targets=True) for seed in range(3)]


def child(folder: Path) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(folder), str(STEPS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_five_kills_at_random_moments_give_the_same_weights(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = child(tmp_path / "whole")
    assert whole.wait(120) == 0
    rng = np.random.default_rng(3)
    kills = 0
    for _ in range(40):
        process = child(tmp_path / "killed")
        assert process.stdout is not None
        process.stdout.readline()
        if kills < 5:
            time.sleep(rng.uniform(0.1, 0.9))
            process.kill()
        code = process.wait(120)
        kills += code == -signal.SIGKILL
        if code == 0:
            break
    assert kills == 5, "the fit ended before it could be killed five times"
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "killed"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_heard_after_the_step_and_its_checkpoint_goes_on(samples, tmp_path: Path, kind) -> None:
    plan = plan_of(validations=4)
    whole = fit(plan, samples, tmp_path / "whole", validate=lambda network: 0.5)

    def ask(state: Progress) -> None:
        if state.step == 3:
            os.kill(os.getpid(), kind)

    before = signal.getsignal(kind)
    with pytest.raises(StoppedError, match="stopped after step 4 of 8; step 4 is kept: go on from it with --resume"):
        fit(plan, samples, tmp_path / "part", progress=ask, validate=lambda network: 0.5)
    assert signal.getsignal(kind) == before
    resumed = fit(plan, samples, tmp_path / "part", resume=True, validate=lambda network: 0.5)
    assert_same_weights(whole.network, resumed.network)
    assert [row["step"] for row in resumed.history] == [2, 4, 6, 8]
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_a_second_ctrl_c_does_not_wait(samples, tmp_path: Path) -> None:
    def ask_twice(state: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(plan_of(), samples, tmp_path, progress=ask_twice)


def test_a_fit_in_another_thread_leaves_signals_alone(samples, tmp_path: Path) -> None:
    found: list[object] = []
    worker = threading.Thread(target=lambda: found.append(fit(plan_of(steps=1), samples, tmp_path)))
    worker.start()
    worker.join(60)
    assert len(found) == 1


def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(samples, tmp_path: Path, monkeypatch) -> None:
    plan = plan_of()
    whole = fit(plan, samples, tmp_path / "whole").network
    write, count = Path.write_bytes, iter(range(100))

    def full(self: Path, data: bytes) -> int:
        if CHECKPOINT in self.name and next(count) == 4:
            write(self, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as broken:
        broken.setattr("isocenter.training.loop.CHECKPOINT_SECONDS", -1.0)
        broken.setattr(Path, "write_bytes", full)
        with pytest.raises(ConfigError, match=r"after step 5: .*No space left.*step 4 is kept.*--resume"):
            fit(plan, samples, tmp_path / "part")
    assert not list((tmp_path / "part").glob(".*")), "nothing half-written is left"
    assert_same_weights(whole, fit(plan, samples, tmp_path / "part", resume=True).network)


def test_a_full_disk_under_the_curves_is_put_into_words(samples, tmp_path: Path, monkeypatch) -> None:
    def full(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        fit(plan_of(validations=1), samples, tmp_path, validate=lambda network: 0.5)


def test_steps_beyond_the_time_are_left_out(samples, tmp_path: Path) -> None:
    run = fit(plan_of(steps=8), samples, tmp_path, seconds=0.0)
    assert run.steps == 1
    assert fit(plan_of(steps=8), samples, tmp_path / "long", seconds=600.0).steps == 8


def test_a_fit_can_start_from_the_weights_of_another(samples, tmp_path: Path) -> None:
    plan = plan_of(steps=4, augmentation={})
    first = fit(plan, samples, tmp_path / "a").network
    slow = plan_of(steps=1, learning_rate=1e-12, weight_decay=0.0, norm="instance", ema=0.0)
    still = fit(
        slow, samples, tmp_path / "b", start=fit(plan_of(norm="instance"), samples, tmp_path / "c").network.state_dict()
    )
    assert still.steps == 1
    warm = fit(plan, samples, tmp_path / "d", start=first.state_dict()).network
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), warm.parameters(), strict=True))
    with pytest.raises(ModelIntegrityError, match="do not fit the plan's network"):
        fit(plan_of(dimensions=2), samples, tmp_path / "e", start=first.state_dict())
