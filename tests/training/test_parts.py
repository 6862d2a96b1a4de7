"""The small parts of a fit: batches ahead, the schedule, the averaged weights."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from isocenter.training import keyed_generator, one_cycle, prefetch, update_average

workers = pytest.mark.parametrize("workers", [0, 1, 2, 5])


@workers
def test_batches_come_in_order_however_long_each_takes(workers: int) -> None:
    pauses = np.random.default_rng(workers).uniform(0, 0.004, 20)

    def make(step: int) -> int:
        time.sleep(pauses[step])
        return step

    assert list(prefetch(make, range(3, 20), workers)) == list(range(3, 20))
    assert list(prefetch(make, range(0), workers)) == []


@workers
def test_no_more_is_made_ahead_than_there_are_workers(workers: int) -> None:
    made: list[int] = []
    batches = prefetch(lambda step: made.append(step) or step, range(30), workers)
    for step in batches:
        time.sleep(0.002)
        assert len(made) <= step + 1 + (workers + 1 if workers else 0)
    assert sorted(made) == list(range(30))


@workers
def test_an_error_is_raised_where_its_batch_is_asked_for(workers: int) -> None:
    def make(step: int) -> int:
        if step >= 3:
            raise KeyError(f"step {step}")
        return step

    batches = prefetch(make, range(10), workers)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="step 3"):
        next(batches)


def test_threads_end_when_the_consumer_stops() -> None:
    before = threading.active_count()
    batches = prefetch(lambda step: step, range(10**6), 3)
    assert next(batches) == 0
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_two_workers_work_at_once() -> None:
    both = threading.Barrier(2, timeout=10)
    assert list(prefetch(lambda step: both.wait() * 0 + step, range(4), 2)) == [0, 1, 2, 3]


@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_rate_rises_then_falls_within_its_bounds(steps: int, warmup: float) -> None:
    rates = np.array([one_cycle(k, steps, warmup) for k in range(steps)])
    assert (rates > 0).all()
    assert (rates <= 1 + 1e-12).all()
    peak = int(rates.argmax())
    assert (np.diff(rates[: peak + 1]) >= -1e-12).all()
    assert (np.diff(rates[peak:]) <= 1e-12).all()
    assert peak <= max(1, steps * warmup) + 1
    if steps * (1 - warmup) > 3:
        assert rates[-1] == pytest.approx(0.001)
    if 3 < steps * warmup < steps - 2:
        assert rates[0] == pytest.approx(0.04)
        assert rates.max() > 0.7


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)


def fill(module: nn.Module, value: float, count: int) -> nn.Module:
    for v in module.state_dict().values():
        v.fill_(value if v.is_floating_point() else count)
    return module


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_forgets_its_start_then_keeps_what_the_plan_says(decay: float) -> None:
    average, network = fill(Small(), 5.0, 0), Small()
    expected = 5.0
    values = np.random.default_rng(0).normal(size=60)
    for step, value in enumerate(values):
        fill(network, float(value), step + 7)
        update_average(average, network, decay, step)
        keep = min(decay, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    for name, found in average.state_dict().items():
        if found.is_floating_point():
            torch.testing.assert_close(found, torch.full_like(found, expected), msg=name)
        else:
            assert int(found) == 66, "counts are copied"
    assert float(network.conv.weight.detach().mean()) == pytest.approx(values[-1]), "the network itself is not touched"


def test_the_average_of_a_still_network_is_the_network() -> None:
    average, network = fill(Small(), 5.0, 0), fill(Small(), 2.0, 3)
    for step in range(500):
        update_average(average, network, 0.9, step)
    for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_draws_depend_on_the_place_alone() -> None:
    places = [
        (seed, stream, step, index) for seed in (0, 9) for stream in (0, 1) for step in (0, 7) for index in (0, 3)
    ]
    draws = {place: keyed_generator(*place).random(4) for place in places}
    for place in reversed(places):
        np.testing.assert_array_equal(keyed_generator(*place).random(4), draws[place])
    assert len({tuple(d) for d in draws.values()}) == len(places)
    firsts = [keyed_generator(0, 0, step, index).random() for step in range(60) for index in range(16)]
    assert np.mean(firsts) == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 0.1
    long = keyed_generator(0, 0, 5, 0).random(10_000)
    assert not np.isin(keyed_generator(0, 0, 6, 0).random(100), long).any(), "one key does not run into the next"
