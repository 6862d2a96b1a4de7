"""Dense outputs on the target grid, against scipy; memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from isocenter.errors import GeometryError
from isocenter.plan import TaskSpec
from isocenter.records import LabelSchema
from isocenter.tasks import Placement, Segmentation, Slab, SlabUpsampler
from isocenter.tasks.upsampling import labels_on_target
from isocenter.volume import Grid

SPACINGS = st.tuples(*[st.sampled_from([0.6, 1.0, 1.7, 3.0])] * 3)


def cut(values: np.ndarray, depth: int) -> Iterator[Slab]:
    for start in range(0, values.shape[1], depth):
        yield Slab(start, {"out": torch.from_numpy(values[:, start : start + depth])})


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)),
    spacing=SPACINGS,
    wanted=SPACINGS,
    depth=st.integers(1, 5),
)
def test_equals_linear_resampling_of_the_whole_array(shape, spacing, wanted, depth):
    target = Grid.regular(shape, spacing_mm=spacing, origin_mm=(3, -5, 8))
    working = target.respaced(wanted)
    values = np.random.default_rng(0).normal(size=(2, *working.shape)).astype(np.float32)
    slices = dict(SlabUpsampler("out", Placement(working, target))(cut(values, depth)))
    assert list(slices) == list(range(shape[0]))
    found = torch.stack(list(slices.values()), 1).numpy()
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    index = working.to_index(target.to_world(places))
    for channel, plane in enumerate(values):
        expected = ndimage.map_coordinates(plane, np.moveaxis(index, -1, 0), order=1, mode="nearest")
        np.testing.assert_allclose(found[channel], expected, atol=1e-4)


def test_the_same_grid_passes_through_unchanged():
    grid = Grid.regular((4, 5, 6), spacing_mm=(3, 1, 1))
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    found = torch.stack([v for _, v in SlabUpsampler("out", Placement(grid, grid))(cut(values, 3))], 1)
    assert np.array_equal(found.numpy(), values)


def test_grids_with_other_axes_are_refused():
    grid = Grid.regular((4, 5, 6), spacing_mm=(1, 1, 1))
    for other in (grid.flip([1]), grid.permute([0, 2, 1])):
        with pytest.raises(GeometryError, match="turned against each other"):
            SlabUpsampler("out", Placement(grid, other))


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)),
    spacing=SPACINGS,
    wanted=SPACINGS,
    depth=st.integers(1, 5),
    exclusive=st.booleans(),
)
def test_labels_are_those_of_the_interpolated_values(shape, spacing, wanted, depth, exclusive):
    target = Grid.regular(shape, spacing_mm=spacing, origin_mm=(3, -5, 8))
    placement = Placement(target.respaced(wanted), target)
    values = np.random.default_rng(0).normal(size=(3, *placement.working.shape)).astype(np.float32)
    whole = torch.stack([v for _, v in SlabUpsampler("out", placement)(cut(values, depth))], 1).numpy()
    found = labels_on_target(cut(values, depth), "out", placement, exclusive=exclusive)
    assert found.dtype == np.uint8
    assert found.shape == (1 if exclusive else 3, *shape)
    top = np.sort(whole, 0)
    clear = top[-1] - top[-2] > 1e-5 if exclusive else np.abs(whole) > 1e-5
    expected = whole.argmax(0)[None] if exclusive else whole > 0
    np.testing.assert_array_equal(found[..., clear] if exclusive else found[clear],
                                  expected[..., clear] if exclusive else expected[clear])  # fmt: skip


def test_outputs_of_half_precision_are_decoded_as_they_are():
    grid = Grid.regular((6, 9, 9), spacing_mm=(2, 2, 2))
    values = torch.randn(3, 6, 9, 9, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    placement = Placement(grid, grid.respaced((1, 1, 1)))
    found, exact = (
        labels_on_target(iter([Slab(0, {"out": v})]), "out", placement, exclusive=True)
        for v in (values, values.detach().float())
    )
    assert np.array_equal(found, exact)


def test_missing_and_misplaced_slabs_are_refused():
    grid = Grid.regular((6, 4, 4), spacing_mm=(2, 2, 2))
    placement = Placement(grid, grid.respaced((1, 1, 1)))
    slabs = list(cut(np.zeros((2, 6, 4, 4), np.float32), 2))
    for given_, what in (
        ([], "no slabs"),
        (slabs[:2], "end at slice 4, slice 5 is needed"),
        ([slabs[0], slabs[2]], "starts at slice 4; expected one with rows and columns \\(4, 4\\) at slice 2"),
        (list(cut(np.zeros((2, 6, 4, 5), np.float32), 2)), "shape \\(2, 2, 4, 5\\)"),
    ):
        with pytest.raises(GeometryError, match=what):
            labels_on_target(iter(given_), "out", placement, exclusive=True)
    with pytest.raises(GeometryError, match="turned against each other"):
        labels_on_target(iter(slabs), "out", Placement(grid, grid.flip([1])), exclusive=True)


def test_decoding_holds_few_slices_at_a_time():
    """Outputs that the decoder has read are freed: classes x voxels never exists."""
    grid = Grid.regular((40, 16, 16), spacing_mm=(2, 2, 2))
    target = grid.respaced((1, 2, 2))  # in the plane nothing is interpolated, so nothing is copied either
    alive = highest = 0

    def freed() -> None:
        nonlocal alive
        alive -= 1

    def slabs() -> Iterator[Slab]:
        nonlocal alive, highest
        for z in range(40):
            values = np.full((5, 1, 16, 16), 0.0, np.float32)
            values[z % 5] = 1
            weakref.finalize(values, freed)
            alive += 1
            highest = max(highest, alive)
            slab = Slab(z, {"segmentation": torch.from_numpy(values)})
            del values
            yield slab

    schema = LabelSchema.of({"a": 1, "b": 2, "c": 3, "d": 4})
    task = Segmentation(TaskSpec(structures=TaskSpec.structures_of(schema)), "ct")
    (labels,) = task.decode(slabs(), Placement(grid, target)).annotations
    assert highest <= 4
    # every other target slice shows the class of the working slice next to it
    assert labels.read().array[0, ::2, 0, 0].tolist() == [z % 5 for z in range(40)]
    assert labels.read().grid is target
