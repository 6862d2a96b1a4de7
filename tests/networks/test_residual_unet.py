"""`residual-unet` is the network of nnU-Net's residual-encoder presets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, build_network
from isocenter.networks.blocks import BottleneckDBlock, ResidualDBlock
from isocenter.plan import InputSpec, NetworkSpec

CT = (InputSpec(name="ct"),)


def build(name: str = "residual-unet", dimensions: int = 3, *, levels: int = 1, **options):
    torch.manual_seed(0)
    spec = NetworkSpec(name=name, dimensions=dimensions, options=options)
    return build_network(spec, CT, {"organ": HeadSpec("dense", 3, levels=levels)})


def test_it_has_the_parameters_of_the_published_network() -> None:
    """nnU-Net's, of preset M and L, has 102 350 575 for one image and three classes, biases before norms among them."""
    widths = [32, 64, 128, 256, 320, 320]
    with torch.device("meta"):
        network = build(strides=[[1, 1, 1]] + [[2, 2, 2]] * 5, channels=widths, kernels=[[3, 3, 3]] * 6, levels=5)
    theirs_only = sum(
        m.out_channels
        for m in network.modules()
        if isinstance(m, nn.Conv3d) and m.bias is None and max(m.kernel_size) > 1
    )
    assert sum(p.numel() for p in network.parameters()) + theirs_only == 102_350_575
    assert [sum(isinstance(m, ResidualDBlock) for m in stage.modules()) for stage in network.encoder] == [
        1, 3, 4, 6, 6, 6,
    ]  # fmt: skip


@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_computes_what_its_definition_says(dimensions: int) -> None:
    """Entry, ResNet-D units, transposed convolutions, one convolution a level: once more, in functions of torch."""
    strides = [[1, 1, 1], [2, 2, 2], [1, 2, 2]]
    network = build(dimensions=dimensions, strides=strides, channels=[4, 6, 6], kernels=[[3, 3, 3]] * 3, units=[1, 2])
    state = network.eval().state_dict()
    convolve = functional.conv3d if dimensions == 3 else functional.conv2d
    enlarge = functional.conv_transpose3d if dimensions == 3 else functional.conv_transpose2d
    mean = functional.avg_pool3d if dimensions == 3 else functional.avg_pool2d
    steps = [tuple(s[3 - dimensions :]) for s in strides]

    def unit(x: Tensor, conv: str, norm: str, stride: tuple[int, ...] | int = 1, active: bool = True) -> Tensor:
        weight = state[f"{conv}.weight"]
        y = convolve(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        y = functional.instance_norm(y, weight=state[f"{norm}.weight"], bias=state[f"{norm}.bias"])
        return functional.leaky_relu(y, 0.01) if active else y

    def residual(x: Tensor, at: str, stride: tuple[int, ...]) -> Tensor:
        y = unit(unit(x, f"{at}.first", f"{at}.norm1", stride), f"{at}.second", f"{at}.norm2", active=False)
        short = mean(x, stride) if max(stride) > 1 else x
        if short.shape[1] != y.shape[1]:
            short = unit(short, f"{at}.short.1", f"{at}.short.2", active=False)
        return functional.leaky_relu(y + short, 0.01)

    x = torch.randn(2, 1, *(4, 12, 8)[3 - dimensions :], generator=torch.Generator().manual_seed(1))
    one = (1,) * dimensions
    fine = residual(unit(x, "encoder.0.0.0", "encoder.0.0.1"), "encoder.0.1", one)
    middle = residual(residual(fine, "encoder.1.0", steps[1]), "encoder.1.1", one)
    y = residual(residual(middle, "encoder.2.0", steps[2]), "encoder.2.1", one)
    for level, skip in ((1, middle), (0, fine)):
        at = f"decoder.enlarge.{level}"
        y = enlarge(y, state[f"{at}.weight"], state[f"{at}.bias"], stride=steps[level + 1])
        y = unit(torch.cat([y, skip], 1), f"decoder.{level}.0", f"decoder.{level}.1")
    wanted = convolve(y, state["heads.organ.0.weight"], state["heads.organ.0.bias"])
    with torch.inference_mode():
        found = network({"ct": x if dimensions == 3 else x[:, :, None]}, {})["organ"]
    torch.testing.assert_close(found if dimensions == 3 else found[:, :, 0], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [ResidualDBlock, BottleneckDBlock])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_pooled_shortcut_looks_at_every_voxel(kind, dimensions: int) -> None:
    """Where channels stay it has nothing to learn, and every voxel weighs the same."""
    two = [2] * dimensions
    block = kind(dimensions, 8, 8, kernel=[3] * dimensions, stride=two, norm="batch")
    x = torch.randn(1, 8, *[4] * dimensions, requires_grad=True)
    assert not list(block.short.parameters())
    block.short(x).sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, 0.5**dimensions))


def test_options_of_residual_units_are_refused_for_plain_ones() -> None:
    with pytest.raises(PlanError, match=r"options\.shortcut: 'pooled' is of residual units .* leave 'strided'"):
        build(unit="plain")
    with pytest.raises(PlanError, match=r"options\.squeeze: 'both' is of residual units .* leave 'none'"):
        build("unet", unit="plain", squeeze="both")
    assert build(unit="plain", shortcut="strided", strides=[[1, 1, 1]], channels=[4])
