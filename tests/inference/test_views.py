"""Views are what scipy makes of the whole image, are brought back to where they were seen, and change no side."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from tests.inference.test_engine import Plain, case_of, direct, logits_of, plan_of
from tests.synthetic import image_ref, small_plan
from torch import nn

from isocenter.errors import PlanError
from isocenter.inference import Engine, check_views, plan_windows
from isocenter.inference.averaging import channel_orders
from isocenter.inference.views import cut, place_view
from isocenter.networks import HeadSpec
from isocenter.pipeline import Pipeline
from isocenter.plan import Plan, StructureSpec, TaskSpec
from isocenter.plan.learning import ViewSpec
from isocenter.records import Case
from isocenter.tasks import Window, build_task
from isocenter.volume import Grid, Volume

TURNS = [
    {"rotation_deg": 15},
    {"rotation_deg": -20, "scale": 0.9},
    {"scale": 1.1, "volumetric": True},
    {"rotation_deg": 7, "scale": 0.85, "volumetric": True, "mirror": [0]},
]
MIRRORS = [{"mirror": [2]}, {"mirror": [0, 1]}, {"mirror": [0, 1, 2]}]
SIDES = (
    StructureSpec(name="lung_left", values=(1,), mirror="lung_right"),
    StructureSpec(name="lung_right", values=(2,), mirror="lung_left"),
)


def smooth_case(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (2, 1, 1)) -> Case:
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values = ndimage.gaussian_filter(noise, (8, 4, 4))
    volume = Volume(values / values.std(), Grid.regular(shape, spacing_mm=spacing))
    return Case("case-7", "p", {"ct": image_ref(volume)})


def scipy_view(image: NDArray[np.float32], window: Window, spec: ViewSpec, grid: Grid) -> NDArray[np.float32]:
    """The window of a view, cut by scipy from the whole image: turned in millimetres about the window's middle."""
    z, y, x = grid.spacing_mm
    angle = math.radians(spec.rotation_deg)
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    mm = np.diag([z, y, x])
    matrix = np.linalg.inv(mm) @ turn @ mm @ np.diag([1 / spec.scale if spec.volumetric else 1, *[1 / spec.scale] * 2])
    middle = (np.array(window.shape) - 1) / 2
    offset = np.array(window.start) + middle - matrix @ middle
    out = ndimage.affine_transform(image, matrix, offset, window.shape, order=1, mode="nearest")
    return np.flip(out, spec.mirror)


@settings(max_examples=60, deadline=None)
@given(
    start=st.tuples(*[st.integers(0, 4)] * 3),
    shape=st.tuples(st.integers(1, 6), st.integers(2, 12), st.integers(2, 12)),
    rotation=st.sampled_from([0, 10, -35, 90, 170]),
    scale=st.sampled_from([0.5, 0.9, 1, 1.3]),
    volumetric=st.booleans(),
    mirror=st.sampled_from([(), (2,), (0, 1), (2, 2)]),
)
def test_a_view_is_cut_from_the_whole_image(start, shape, rotation, scale, volumetric, mirror) -> None:
    size = tuple(a + n + 3 for a, n in zip(start, shape, strict=True))
    image = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    grid = Grid.regular(size, spacing_mm=(4, 1.5, 1))
    spec = ViewSpec(rotation_deg=rotation, scale=scale, volumetric=volumetric, mirror=mirror)
    window, other = Window(start, shape), Window((0, 0, 0), shape)
    view = place_view(spec, shape, grid)
    found = view.see(cut(torch.from_numpy(image), [window, other], view.margin))
    for k, place in enumerate((window, other)):
        for channel in range(2):
            spec_once = spec.model_copy(update={"mirror": tuple(set(mirror))})
            expected = scipy_view(image[channel], place, spec_once, grid)
            np.testing.assert_allclose(found[k, channel], expected, atol=1e-3)


@pytest.mark.parametrize("view", [*TURNS, *MIRRORS])
def test_what_was_seen_comes_back_to_where_it_was(view) -> None:
    shape = (6, 40, 36)
    image = torch.from_numpy(smooth_case(shape).image("ct").read().array)
    grid = Grid.regular(shape, spacing_mm=(2, 1, 1.3))
    placed = place_view(ViewSpec(**view), shape, grid)
    values, seen = placed.back(placed.see(cut(image, [Window((0, 0, 0), shape)], placed.margin)))
    covered = seen.expand(shape).bool().numpy()
    assert covered[2:4, 8:-8, 8:-8].all()
    # beyond the image its border is repeated, which a voxel at the border notices
    away = np.zeros(shape, bool)
    away[1:-1, 3:-3, 3:-3] = True
    gap = np.abs((values[0, 0] - image[0]).numpy())
    assert gap[covered & away].max() < (0.1 if placed.matrix is not None else 1e-9)
    assert (values[0, 0].numpy()[~covered] == 0).all()
    assert covered.all() == (placed.matrix is None or placed.spec.scale == 0.85)


@pytest.mark.parametrize("window", [(4, 8, 7), (64, 64, 64)])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_view_that_changes_nothing_changes_no_result(window, batch: int) -> None:
    case = case_of()
    plain = logits_of(Plain(3), plan_of(window, batch=batch), case)
    seen = logits_of(Plain(3), plan_of(window, batch=batch, views=[{}, {"mirror": []}]), case)
    np.testing.assert_allclose(seen, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("views", [[v] for v in MIRRORS] + [MIRRORS])
def test_a_network_that_looks_the_same_from_all_sides_gives_the_same(views) -> None:
    class Symmetric(Plain):
        def forward(self, inputs, present):
            blurred = nn.functional.avg_pool3d(inputs["ct"], 3, 1, 1)
            return {"segmentation": torch.cat([blurred, inputs["ct"] ** 2], 1)}

    case = case_of()
    plain = logits_of(Symmetric(1), plan_of((4, 8, 8)), case)
    np.testing.assert_allclose(logits_of(Symmetric(1), plan_of((4, 8, 8), views=views), case), plain, atol=1e-5)


@pytest.mark.parametrize("views", [[v] for v in TURNS] + [[*TURNS, *MIRRORS]])
@pytest.mark.parametrize("window", [(1, 32, 32), (6, 24, 24), (64, 64, 64)])
def test_a_pointwise_network_gives_nearly_the_same_under_every_view(views, window) -> None:
    case = smooth_case((6, 40, 36))
    plain = logits_of(Plain(1), plan_of(window, batch=2), case)
    seen = logits_of(Plain(1), plan_of(window, batch=2, views=views), case)
    gap = np.abs(seen - plain)
    assert gap[:, 1:-1, 3:-3, 3:-3].max() < 0.1 * plain.std()
    assert gap.mean() < 0.02 * plain.std()
    assert not np.array_equal(seen, plain)


class Sided(nn.Module):
    """Knows left from right by place alone: background, left, right."""

    def forward(self, inputs, present):
        image = inputs["ct"]
        left = (torch.arange(image.shape[4]) < image.shape[4] // 2).float().expand(image.shape)
        return {"segmentation": torch.cat([torch.full_like(image, 0.2), left, 1 - left], 1)}


def sided_plan(**inference) -> Plan:
    made = plan_of((64, 64, 64), **inference)
    return Plan.model_validate(made.model_dump() | {"task": {"name": "test-logits", "structures": list(SIDES)}})


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "RAS", "PLI"])
def test_partners_are_swapped_back_where_the_view_mirrors_left_and_right(orientation: str) -> None:
    grid = Grid.regular((8, 8, 8), spacing_mm=(1, 1, 1)).reorient(orientation)
    case = Case("a", "p", {"ct": image_ref(Volume(np.random.default_rng(0).normal(size=(1, 8, 8, 8)), grid))})
    lateral = next(k for k, letter in enumerate(orientation) if letter in "LR")
    expected = logits_of(Sided(), sided_plan(), case)
    for axis in range(3):
        found = logits_of(Sided(), sided_plan(views=[{"mirror": [axis]}]), case)
        swapped = expected[[0, 2, 1]] if axis == lateral else expected
        moved = np.flip(swapped, 1 + axis)
        np.testing.assert_allclose(found, (expected + moved) / 2, atol=1e-6)
        if axis == lateral == 2:
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_only_views_that_saw_a_voxel_count() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, inputs, present):
            self.calls += 1
            return {"segmentation": torch.full_like(inputs["ct"], {1: 1.0, 2: 4.0, 3: 10.0}[self.calls])}

    case = case_of((3, 21, 21))
    found = logits_of(Counting(), plan_of((64, 64, 64), views=[{"scale": 2}, {"rotation_deg": 90}]), case)[0]
    # twice as large, only the middle half of the plane is in the view; a square turned by a right angle is seen whole
    expected = np.full((3, 21, 21), (1 + 10) / 2)
    expected[:, 5:16, 5:16] = (1 + 4 + 10) / 3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_view_is_one_more_look_and_is_told_as_such() -> None:
    plan = plan_of((4, 8, 8), batch=4, views=[{"scale": 0.9}, {"mirror": [2]}])
    network, told = Plain(1), []
    pipeline = Pipeline(plan)
    Engine(pipeline, network).predict(pipeline.prepare(case_of()), lambda done, total: told.append((done, total)))
    windows = len(plan_windows((7, 18, 15), (4, 8, 8), 0.5))
    assert told[-1] == (3 * windows, 3 * windows)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert sum(seen[0][0] for seen in network.seen) == 3 * windows
    assert {tuple(seen[0][2:]) for seen in network.seen} == {(4, 8, 8)}
    quick = Plain(1)
    engine = Engine(pipeline, quick, views=())
    np.testing.assert_allclose(
        engine.predict(pipeline.prepare(case_of())).maps["logits"].array, direct(quick, case_of()), atol=1e-5
    )


def test_an_image_that_is_missing_stays_missing_in_every_view() -> None:
    plan = plan_of((64, 64, 64), views=[{"rotation_deg": 10, "mirror": [1]}])
    inputs = [{"name": "ct"}, {"name": "pet", "required": False}]
    network = Plain(1)
    logits_of(network, Plan.model_validate(plan.model_dump() | {"inputs": inputs}), case_of())
    assert [{k: v.tolist() for k, v in seen[1].items()} for seen in network.seen] == [
        {"ct": [True], "pet": [False]}
    ] * 2


@pytest.mark.parametrize(("mirror", "expected"), [((2,), [0.5, 0.0]), ((1,), [1.5, -1.0])])
def test_answers_of_a_case_are_averaged_and_their_sides_swapped(mirror, expected: list[float]) -> None:
    class Answers(nn.Module):
        calls = 0

        def forward(self, inputs, present):
            self.calls += 1
            return {"classification": torch.tensor([[2.0, 0.0] if self.calls == 1 else [0.0, -1.0]])}

    plan = small_plan(
        {"name": "classification", "target": "side", "classes": ["left", "right"], "exclusive": False},
        {}, {"patch": [64, 64, 64]},
        inference={"window": [64, 64, 64], "precision": "fp32", "views": [{"mirror": mirror}]},
    )  # fmt: skip
    pipeline = Pipeline(plan)
    sample = pipeline.prepare(case_of())
    # the case's index axes run S, P, L: the third from right to left
    assert sample.placement.working.orientation[2] in "LR"
    (answer,) = Engine(pipeline, Answers()).predict(sample).annotations
    shares = torch.tensor(expected if mirror == (2,) else [1.0, -0.5]).sigmoid()
    np.testing.assert_allclose(answer.probabilities, shares, atol=1e-6)


def test_views_of_objects_in_cells_are_refused_before_anything_runs() -> None:
    plan = small_plan(
        {"name": "detection", "structures": [{"name": "blob", "values": [1]}]}, {}, {"patch": [8, 8, 8]},
        inference={"window": [8, 8, 8], "views": [{"mirror": [2]}]},
    )  # fmt: skip
    with pytest.raises(PlanError, match=r"inference.views: output 'heat' of task 'detection' .* Leave views out"):
        Engine(Pipeline(plan), nn.Identity())
    Engine(Pipeline(plan), nn.Identity(), views=())


def test_which_channels_are_partners_follows_the_schema() -> None:
    three = (*SIDES, StructureSpec(name="heart", values=(3,)))
    assert channel_orders(build_task(TaskSpec(structures=three), "ct")) == {"segmentation": [0, 2, 1, 3]}
    overlapping = TaskSpec(structures=three, exclusive=False)
    assert channel_orders(build_task(overlapping, "ct")) == {"segmentation": [1, 0, 2]}
    task = build_task(TaskSpec(structures=three), "ct")
    task.heads = lambda: {"distance": HeadSpec("dense", 7)}
    with pytest.raises(PlanError, match="'distance' has 7 channels for 3 structures"):
        check_views([ViewSpec(mirror=(1,))], task)
    check_views([ViewSpec(rotation_deg=9)], task)
