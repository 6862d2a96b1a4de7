"""Reducers against whole-array averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isocenter.inference import plan_windows
from isocenter.tasks import BlendReducer, MeanReducer, PassReducer, Slab, Window, importance

AXES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=40)
@given(
    shape=AXES,
    window=AXES,
    overlap=st.sampled_from([0.0, 0.3, 0.5, 0.75]),
    members=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_blending_equals_the_weighted_average_of_whole_arrays(shape, window, overlap, members, seed):
    rng = np.random.default_rng(seed)
    total, weights = np.zeros((2, *shape)), np.zeros(shape)
    reducer = BlendReducer("out")
    reducer.begin(shape)
    slabs: list[Slab] = []
    for part in plan_windows(shape, window, overlap):
        axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / max(n / 8, 0.5)) ** 2) for n in part.shape]
        weight = np.maximum(axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :], 1e-3)
        place = tuple(slice(a, a + n) for a, n in zip(part.start, part.shape, strict=True))
        for _ in range(members):
            values = rng.normal(size=(2, *part.shape)).astype(np.float32)
            total[(slice(None), *place)] += values * weight
            weights[place] += weight
            slabs += reducer.add({"out": torch.from_numpy(values)}, part)
        # nothing that is finished is held back, so that memory never exceeds the depth of a window
        assert sum(s.outputs["out"].shape[1] for s in slabs) == part.start[0]
    slabs += reducer.end()
    assert [s.start for s in slabs] == [sum(t.outputs["out"].shape[1] for t in slabs[:k]) for k in range(len(slabs))]
    found = torch.cat([s.outputs["out"] for s in slabs], 1).numpy()
    np.testing.assert_allclose(found, total / weights, atol=1e-5)


def test_a_reducer_begins_anew():
    reducer, part = BlendReducer("out"), Window((0, 0, 0), (2, 3, 3))
    for value in (1.0, 5.0):
        reducer.begin((2, 3, 3))
        reducer.add({"out": torch.full((1, 2, 3, 3), value)}, part)
        (slab,) = reducer.end()
        assert torch.equal(slab.outputs["out"], torch.full((1, 2, 3, 3), value))


def test_importance_is_highest_in_the_middle_and_never_zero():
    weight = importance((5, 9, 33))
    assert weight.max() == weight[2, 4, 16] == 1
    assert weight.min() == pytest.approx(1e-3)
    assert torch.equal(weight, weight.flip(0, 1, 2))


def test_mean_of_global_outputs_weighs_windows_by_their_voxels():
    reducer = MeanReducer("out")
    reducer.begin((1, 4, 4))
    reducer.add({"out": torch.tensor([1.0, 0.0])}, Window((0, 0, 0), (1, 4, 3)))
    reducer.add({"out": torch.tensor([5.0, 4.0])}, Window((0, 0, 3), (1, 4, 1)))
    (slab,) = reducer.end()
    assert slab.outputs["out"].tolist() == [2.0, 1.0]


def test_passing_on_tells_the_place_of_the_window():
    (slab,) = PassReducer().add({"heat": torch.ones(1, 1, 2, 2)}, Window((3, 1, 2), (4, 8, 8)))
    assert slab.start == 3
    assert slab.outputs["window"].tolist() == [[3, 1, 2], [4, 8, 8]]
    assert slab.outputs["heat"].shape == (1, 1, 2, 2)
