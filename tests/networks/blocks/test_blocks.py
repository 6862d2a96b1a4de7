"""Blocks against torch's own cells, full attention, and formulae."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from isocenter.networks.blocks import (
    AttentionGate,
    BottleneckBlock,
    ChannelSqueeze,
    ConcurrentSqueeze,
    ConvGRU,
    ConvLSTM,
    GlobalLocalBlock,
    PlainBlock,
    SliceRecurrence,
    SpatialSqueeze,
    WindowAttention,
    dropout_active,
    dropout_layers,
)


@pytest.mark.parametrize(("ours", "cell", "gates"), [(ConvGRU, nn.GRUCell, 3), (ConvLSTM, nn.LSTMCell, 4)])
def test_with_kernels_of_one_a_recurrence_is_torchs_cell_at_every_place(ours, cell, gates: int) -> None:
    torch.manual_seed(0)
    mine, theirs = ours(3, 5, kernel=1), cell(3, 5)
    with torch.no_grad():
        theirs.weight_ih.copy_(mine.of_input.weight.view(5 * gates, 3))
        theirs.weight_hh.copy_(mine.of_state.weight.view(5 * gates, 5))
        theirs.bias_ih.copy_(mine.of_input.bias)
        theirs.bias_hh.copy_(mine.of_state.bias)
    x = torch.randn(2, 6, 3, 4, 3)
    found = mine(x)
    state = torch.zeros(24, 5)
    memory = (state, state)
    for k in range(6):
        given_ = x[:, k].permute(0, 2, 3, 1).reshape(24, 3)
        if cell is nn.GRUCell:
            state = theirs(given_, state)
        else:
            memory = theirs(given_, memory)
            state = memory[0]
        torch.testing.assert_close(found[:, k].permute(0, 2, 3, 1).reshape(24, 5), state, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("unit", ["gru", "lstm"])
def test_a_recurrence_hears_both_sides_and_is_the_same_turned_over(unit: str) -> None:
    torch.manual_seed(0)
    part = SliceRecurrence(4, unit).eval()
    x = torch.randn(5, 4, 6, 6)
    touched = x.clone()
    touched[2] += 3
    change = (part(touched, 1) - part(x, 1)).abs().amax((1, 2, 3))
    assert (change > 0).all()
    part.down.load_state_dict(part.up.state_dict())
    hidden = part.up.hidden
    with torch.no_grad():  # the mixing does not tell the directions apart
        part.mix.weight[:, hidden:] = part.mix.weight[:, :hidden]
    torch.testing.assert_close(part(x.flip(0), 1), part(x, 1).flip(0), atol=1e-5, rtol=1e-5)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 3))
def test_one_window_over_everything_is_full_attention(d: int, h: int, w: int, tokens: int) -> None:
    torch.manual_seed(0)
    part = WindowAttention(6, heads=2, window=(4, 5, 6))
    x, glob = torch.randn(2, d, h, w, 6), torch.randn(2, tokens, 6)
    near, far = part(x, glob)
    everything = torch.cat([x.flatten(1, 3), glob], 1)
    q, k, v = (t.unflatten(-1, (2, 3)).transpose(1, 2) for t in part.project(everything).chunk(3, -1))
    weights = (q @ k.transpose(-1, -2) / 3**0.5).softmax(-1)
    wanted = part.out((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(near.flatten(1, 3), wanted[:, : d * h * w], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(far, wanted[:, d * h * w :], atol=1e-5, rtol=1e-4)


def test_windows_are_apart_but_for_the_tokens() -> None:
    torch.manual_seed(0)
    part = WindowAttention(4, heads=1, window=(2, 2, 2))
    x = torch.randn(1, 4, 4, 5, 4)
    touched = x.clone()
    touched[0, :2, :2, :2] += 2
    none = torch.zeros(1, 0, 4)
    change = (part(touched, none)[0] - part(x, none)[0]).abs().sum(-1)[0]
    assert (change[:2, :2, :2] > 0).all()
    change[:2, :2, :2] = 0
    assert not change.any()


def test_memory_of_attention_grows_with_voxels_not_with_their_square() -> None:
    part = WindowAttention(8, heads=2, window=(2, 4, 4))
    sizes = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes[-1] += tensor.numel()
        return tensor

    for edge in (8, 16):
        sizes.append(0)
        x = torch.randn(1, edge, edge, edge, 8, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            part(x, torch.randn(1, 4, 8))
    assert sizes[1] / sizes[0] == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_attention_block_keeps_shapes_of_any_size(dimensions: int) -> None:
    block = GlobalLocalBlock(dimensions, 8, heads=2, window=(2, 4, 4)[3 - dimensions :])
    x = torch.randn(2, 8, *(3, 7, 5)[3 - dimensions :])
    voxels, tokens = block(x, torch.randn(2, 3, 8))
    assert (voxels.shape, tokens.shape) == (x.shape, (2, 3, 8))


def test_only_dropout_is_awake_and_everything_is_as_before_afterwards() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.BatchNorm2d(8), nn.Dropout2d(0.5), nn.Dropout(0.0)).train()
    network[1].eval()
    before = [m.training for m in network.modules()]
    statistics = network[1].running_mean.clone()
    x = torch.randn(4, 1, 6, 6)
    with dropout_active(network) as layers:
        assert layers == len(dropout_layers(network)) == 1
        assert [m.training for m in network] == [False, False, True, False]
        assert not torch.equal(network(x), network(x))
    assert [m.training for m in network.modules()] == before
    assert torch.equal(network[1].running_mean, statistics)
    with pytest.raises(KeyError), dropout_active(network):
        raise KeyError
    assert [m.training for m in network.modules()] == before


def test_channels_are_squeezed_by_their_means() -> None:
    torch.manual_seed(0)
    part = ChannelSqueeze(16)
    x, plain = torch.randn(2, 16, 3, 4, 5), torch.randn(2, 16, 3, 4, 5)
    hidden = functional.leaky_relu(plain.mean((2, 3, 4)) @ part.down.weight.T + part.down.bias, 0.01)
    weight = torch.sigmoid(hidden @ part.up.weight.T + part.up.bias)
    torch.testing.assert_close(part(x, plain), x * weight[:, :, None, None, None])


def test_both_ways_of_squeezing_take_the_larger() -> None:
    part = ConcurrentSqueeze(2, 8)
    x = torch.rand(1, 8, 5, 5)
    torch.testing.assert_close(part(x, x), torch.maximum(part.channel(x, x), part.spatial(x, x)))
    place = torch.sigmoid((part.spatial.score.weight.view(8, 1, 1) * x[0]).sum(0) + part.spatial.score.bias)
    torch.testing.assert_close(SpatialSqueeze.forward(part.spatial, x, x)[0], x[0] * place)


def test_a_gate_weighs_places_by_the_coarser_level() -> None:
    gate = AttentionGate(3, 4, 6)
    skip, coarse = torch.randn(2, 4, 4, 8, 8), torch.randn(2, 6, 2, 4, 4)
    weights = gate.weights(skip, coarse)
    assert weights.shape == (2, 1, 4, 8, 8)
    assert ((weights > 0) & (weights < 1)).all()
    torch.testing.assert_close(gate(skip, coarse), skip * weights)
    assert not torch.allclose(weights, gate.weights(skip, coarse + 1))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_blocks_keep_to_channels_and_strides(dimensions: int) -> None:
    x = torch.randn(2, 3, *(8, 8, 8)[3 - dimensions :])
    options = {"kernel": [3] * dimensions, "stride": [2] * dimensions, "norm": "batch"}
    for block in (PlainBlock(dimensions, 3, 8, **options), BottleneckBlock(dimensions, 3, 8, **options)):
        assert block(x).shape == (2, 8, *[4] * dimensions)
    convolutions = [m for m in PlainBlock(dimensions, 3, 8, units=3, **options).modules() if hasattr(m, "stride")]
    assert [max(c.stride) for c in convolutions] == [2, 1, 1]
