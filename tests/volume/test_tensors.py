"""Resampling of tensors against the compiled kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.volume.lattices import grids, turned

from isocenter.errors import GeometryError
from isocenter.volume import resample_array
from isocenter.volume.tensors import resample_tensor

sizes = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=50)
@given(
    grids(shapes=sizes), st.tuples(*[st.floats(0.3, 4)] * 3), st.permutations([0, 1, 2]), st.sets(st.integers(0, 2)),
    st.sampled_from(["linear", "cubic"]), st.booleans(), st.sampled_from([None, -9.0]),
)  # fmt: skip
def test_values_are_those_of_the_kernels(grid, factors, order, flips, how, antialias, fill) -> None:
    target = grid.respaced([s * f for s, f in zip(grid.spacing_mm, factors, strict=True)]).pad((1, 0, 2), (0, 1, 0))
    target = target.permute(order).flip(sorted(flips))
    values = np.random.default_rng(0).normal(size=(2, *grid.shape)).astype(np.float32)
    given_ = {"interpolation": how, "antialias": antialias, "fill": fill, "spacing": grid.spacing_mm}
    matrix = target.index_map_to(grid)
    found = resample_tensor(torch.from_numpy(values), matrix, target.shape, **given_)
    assert found.shape == (2, *target.shape)
    np.testing.assert_allclose(found.numpy(), resample_array(values, matrix, target.shape, **given_), atol=1e-4)


def test_gradients_pass() -> None:
    values = torch.zeros(1, 3, 3, 3, requires_grad=True)
    resample_tensor(values, np.diag([0.5, 0.5, 0.5, 1]), (5, 5, 5)).sum().backward()
    assert values.grad is not None
    assert float(values.grad.sum()) == pytest.approx(125)


def test_what_has_no_weights_along_axes_is_refused() -> None:
    source, target = turned((4, 4, 4), (1, 1, 1)), turned((4, 4, 4), (1, 1, 1), degrees=(0, 0, 20))
    with pytest.raises(GeometryError, match="parallel axes"):
        resample_tensor(torch.zeros(1, 4, 4, 4), target.index_map_to(source), (4, 4, 4))
    with pytest.raises(GeometryError, match="parallel axes"):
        resample_tensor(torch.zeros(1, 4, 4, 4), np.eye(4), (4, 4, 4), interpolation="nearest")
