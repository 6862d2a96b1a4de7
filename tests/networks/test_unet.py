"""The contract of networks, kept by the U-Net for every shape, head and set of inputs."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, build_network
from isocenter.networks.blocks import DepthToSpace, SpaceToDepth
from isocenter.plan import InputSpec, NetworkSpec

STRIDES = {2: [[1, 1, 1], [1, 2, 2], [1, 2, 2]], 3: [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}
CT = (InputSpec(name="ct"),)


def build(dimensions: int = 3, heads=None, inputs: tuple[InputSpec, ...] = CT, seed: int = 0, **options):
    settings = {"strides": STRIDES[dimensions], "channels": [4, 6, 8], "norm": "group", **options}
    torch.manual_seed(seed)
    return build_network(
        NetworkSpec(dimensions=dimensions, options=settings), inputs, heads or {"organ": HeadSpec("dense", 3)}
    )


def images(*names: str, shape=(6, 12, 16), batch: int = 2, channels: int = 1, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, channels, *shape, generator=generator) for name in names}


@settings(max_examples=12)
@given(
    st.sampled_from([2, 3]),
    st.tuples(st.integers(1, 7), st.integers(1, 21), st.integers(1, 21)),
    st.sampled_from([[1, 1, 1], [1, 2, 2], [2, 2, 2]]),
    st.integers(1, 3),
    st.sampled_from(["batch", "instance", "group"]),
)
def test_outputs_have_the_sizes_of_the_contract(dimensions: int, shape, stem, batch: int, norm: str) -> None:
    stem = [1, *stem[1:]] if dimensions == 2 else stem
    strided = 2 * stem[-1]
    heads = {
        "organ": HeadSpec("dense", 3, levels=2),
        "heat": HeadSpec("strided", 5, stride=strided),
        "kind": HeadSpec("global", 2),
    }
    network = build(dimensions, heads, stem=stem, norm=norm).eval()
    with torch.inference_mode():
        out = network(images("ct", shape=shape, batch=batch), {})
    assert set(out) == {"organ", "heat", "kind"}, "coarser levels are for training only"
    assert out["organ"].shape == (batch, 3, *shape)
    assert out["kind"].shape == (batch, 2)
    along = stem[0] * STRIDES[dimensions][1][0] if dimensions == 3 else 1
    cells = [-(-n // s) for n, s in zip(shape, (along, strided, strided), strict=True)]
    assert out["heat"].shape == (batch, 5, *cells)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("levels", [1, 2, 3, 7])
def test_supervised_levels_come_in_training_as_far_as_there_are_stages(dimensions: int, levels: int) -> None:
    network = build(dimensions, {"organ": HeadSpec("dense", 3, levels=levels)})
    out = network(images("ct", shape=(4, 16, 16)), {})
    assert list(out) == ["organ", "organ@1", "organ@2"][:levels]
    sizes = [(4, 16, 16), (4, 8, 8), (2, 4, 4) if dimensions == 3 else (4, 4, 4)]
    for value, size in zip(out.values(), sizes, strict=False):
        assert value.shape == (2, 3, *size)


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradients_reach_every_parameter(dimensions: int, norm: str) -> None:
    heads = {
        "organ": HeadSpec("dense", 3, levels=3),
        "heat": HeadSpec("strided", 2, stride=4),
        "kind": HeadSpec("global", 2),
    }
    inputs = (InputSpec(name="ct"), InputSpec(name="pet", required=False))
    network = build(dimensions, heads, inputs, norm=norm, stem=[1, 2, 2], dropout=0.1)
    present = {"ct": torch.tensor([True, True]), "pet": torch.tensor([True, False])}
    out = network(images("ct", "pet", shape=(4, 32, 32)), present)
    # squares, since a sum after a norm does not depend on what goes into it
    sum((value**2).sum() for value in out.values()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(
    ("heads", "parts"),
    [
        ({"kind": HeadSpec("global", 2)}, 0),
        ({"heat": HeadSpec("strided", 2, stride=2)}, 1),
        ({"organ": HeadSpec("dense", 2)}, 2),
    ],
)
def test_only_the_stages_that_a_head_needs_are_built(heads, parts: int) -> None:
    network = build(3, heads)
    assert sum(bool(list(stage.parameters())) for stage in network.decoder) == parts
    sum((v**2).sum() for v in network(images("ct"), {}).values()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_strided_output_covers_the_inputs_from_its_place_on() -> None:
    network = build(3, {"heat": HeadSpec("strided", 1, stride=4)}, stem=[1, 2, 2], norm="batch").eval()
    plain = images("ct", shape=(5, 33, 33), batch=1)
    touched = {"ct": plain["ct"].clone()}
    touched["ct"][..., 2, 16, 24] += 100
    with torch.inference_mode():
        change = (network(touched, {})["heat"] - network(plain, {})["heat"]).abs()[0, 0]
    place = [int(i) for i in torch.unravel_index(change.argmax(), change.shape)]
    assert abs(place[1] - 4) <= 1
    assert abs(place[2] - 6) <= 1


@pytest.mark.parametrize("missing", ["ct", "pet", "mr"])
def test_a_missing_image_is_told_from_one_of_zeros(missing: str) -> None:
    names = ("ct", "pet", "mr")
    inputs = tuple(InputSpec(name=n, required=False) for n in names)
    network = build(3, None, inputs).eval()
    given = images(*names)
    given[missing] = torch.zeros_like(given[missing])
    everything = {n: torch.tensor([True, True]) for n in names}
    without = everything | {missing: torch.tensor([True, False])}
    with torch.inference_mode():
        full, part, silent = (network(given, there)["organ"] for there in (everything, without, {}))
    assert torch.equal(full, silent), "an empty mapping says that all are there"
    torch.testing.assert_close(part[0], full[0])
    assert not torch.allclose(part[1], full[1], atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_to_three_inputs_of_several_channels(count: int, dimensions: int) -> None:
    names = ("a", "b", "c")[:count]
    inputs = tuple(InputSpec(name=n, channels=k + 1) for k, n in enumerate(names))
    network = build(dimensions, None, inputs).eval()
    given = {n: torch.randn(2, k + 1, 3, 9, 10) for k, n in enumerate(names)}
    with torch.inference_mode():
        out = network(given, {})["organ"]
        for name in names:
            changed = given | {name: given[name] + 1 + torch.randn_like(given[name])}
            assert not torch.allclose(network(changed, {})["organ"], out, atol=1e-4)
    assert out.shape == (2, 3, 3, 9, 10)


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("heads", [{"organ": HeadSpec("dense", 3)}, {"heat": HeadSpec("strided", 3, stride=2)}])
def test_in_two_dimensions_slices_do_not_see_each_other(norm: str, heads) -> None:
    network = build(2, heads, norm=norm, stem=[1, 2, 2] if "organ" in heads else [1, 1, 1]).eval()
    (name,) = heads
    stack = images("ct", shape=(5, 13, 18))["ct"]
    with torch.inference_mode():
        whole = network({"ct": stack}, {})[name]
        apart = torch.cat([network({"ct": stack[:, :, z : z + 1]}, {})[name] for z in range(5)], dim=2)
    torch.testing.assert_close(whole, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_samples_of_a_batch_do_not_see_each_other(dimensions: int) -> None:
    heads = {"organ": HeadSpec("dense", 3), "kind": HeadSpec("global", 2)}
    network = build(dimensions, heads, norm="batch").eval()
    batch = images("ct", batch=3)["ct"]
    with torch.inference_mode():
        whole = network({"ct": batch}, {})
        for name in heads:
            apart = torch.cat([network({"ct": batch[k : k + 1]}, {})[name] for k in range(3)])
            torch.testing.assert_close(whole[name], apart, atol=1e-5, rtol=1e-4)


def test_the_seed_decides_the_weights_and_the_state_brings_them_back() -> None:
    first, same, other = (build(seed=seed, norm="batch") for seed in (4, 4, 5))
    given = images("ct")
    first(given, {})  # running statistics move
    same(given, {})
    other.load_state_dict(first.state_dict())
    with torch.inference_mode():
        expected = first.eval()(given, {})["organ"]
        assert torch.equal(same.eval()(given, {})["organ"], expected)
        assert torch.equal(other.eval()(given, {})["organ"], expected)
        assert not torch.equal(build(seed=5, norm="batch").eval()(given, {})["organ"], expected)


def test_heads_start_at_their_bias() -> None:
    heads = {
        "heat": HeadSpec("strided", 2, stride=2, bias=-4.0),
        "organ": HeadSpec("dense", 2, bias=1.5),
        "kind": HeadSpec("global", 2, bias=2),
    }
    state = build(3, heads, stem=[1, 1, 1]).state_dict()
    for name, head in heads.items():
        biases = [v for key, v in state.items() if key.startswith(f"heads.{name}.") and key.endswith("bias")]
        assert biases
        assert all((b == head.bias).all() for b in biases)


@pytest.mark.parametrize(
    ("options", "heads", "says"),
    [
        ({"chanels": [4]}, None, r"chanels.*did you mean .channels"),
        ({"norm": "layer"}, None, r"network.options.norm"),
        ({"strides": [[1, 1, 1]]}, None, "1 strides for 3 channels"),
        ({"strides": [[1, 1, 1], [0, 2, 2], [1, 2, 2]]}, None, r"network.options.strides.1.0"),
        ({"strides": [], "channels": []}, None, r"network.options.channels"),
        ({"channels": [4, 0, 8]}, None, r"network.options.channels.1"),
        ({"stem": [1, 2]}, None, r"network.options.stem"),
        ({"dropout": 1.0}, None, r"network.options.dropout"),
        ({"strides": [[2, 2, 2], [1, 2, 2], [1, 2, 2]]}, None, r"strides: the first is \[2, 2, 2\]"),
        ({}, {"heat": HeadSpec("strided", 1, stride=3)}, "no stage of stride 3"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, heads, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        build(3, heads, **options)


def test_an_unknown_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(PlanError, match=r"no network 'unett' \(did you mean 'unet'\?\)"):
        build_network(NetworkSpec(name="unett"), CT, {})


@settings(max_examples=30)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=3), st.integers(1, 3), st.integers(1, 3))
def test_depth_to_space_undoes_space_to_depth(factors: list[int], channels: int, cells: int) -> None:
    x = torch.randn(2, channels, *[f * cells for f in factors])
    deep = SpaceToDepth(factors)(x)
    assert deep.shape == (2, channels * int(torch.tensor(factors).prod()), *[cells] * len(factors))
    assert torch.equal(DepthToSpace(factors)(deep), x)
    assert torch.equal(SpaceToDepth(factors)(DepthToSpace(factors)(deep)), deep)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_in_the_plane_they_are_torchs_pixel_shuffles(factor: int) -> None:
    x = torch.randn(2, 3, 6 * factor, 5 * factor)
    deep = torch.nn.functional.pixel_unshuffle(x, factor)
    assert torch.equal(SpaceToDepth([factor, factor])(x), deep)
    assert torch.equal(DepthToSpace([factor, factor])(deep), torch.nn.functional.pixel_shuffle(deep, factor))


def test_space_to_depth_takes_blocks_of_neighbours() -> None:
    x = torch.arange(2.0 * 4 * 6).reshape(1, 1, 2, 4, 6)
    deep = SpaceToDepth([2, 2, 3])(x)
    for place, (a, b, c) in enumerate(itertools.product(range(2), range(2), range(3))):
        assert torch.equal(deep[0, place], x[0, 0, a::2, b::2, c::3])
