"""Residual classifiers against MONAI's, with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, build_network
from isocenter.networks.blocks import ChannelSqueeze, SpatialSqueeze
from isocenter.plan import InputSpec, NetworkSpec

CT = (InputSpec(name="ct"),)
STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
CLASSES = {"kind": HeadSpec("global", 5)}


def build(name: str = "resnet", dimensions: int = 3, heads=CLASSES, **options):
    torch.manual_seed(0)
    given = {"strides": STRIDES, "kernels": [[3, 3, 3]] * 4, "norm": "batch", **options}
    return build_network(NetworkSpec(name=name, dimensions=dimensions, options=given), CT, heads)


def monais(depth: int, dimensions: int, width: int):
    from monai.networks.nets.resnet import ResNet

    layers = {10: [1, 1, 1, 1], 18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}[depth]
    return ResNet(
        "bottleneck" if depth == 50 else "basic", layers, [width, 2 * width, 4 * width, 8 * width],
        spatial_dims=dimensions, n_input_channels=1, conv1_t_size=3, no_max_pool=True, num_classes=5,
        bias_downsample=False,
    )  # fmt: skip


def copy(theirs, ours) -> None:
    """Weights by the order in which both compute; slopes as of their ReLU."""

    def part(a, b) -> None:
        b.load_state_dict(a.state_dict())

    part(theirs.conv1, ours.encoder[0][0][0])
    part(theirs.bn1, ours.encoder[0][0][1])
    for layer, stage in zip((theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4), ours.encoder, strict=True):
        for a, b in zip(layer, [m for m in stage.modules() if hasattr(m, "short")], strict=True):
            if hasattr(b, "body"):
                for k, name in enumerate(("conv1", "bn1", None, "conv2", "bn2", None, "conv3")):
                    if name:
                        part(getattr(a, name), b.body[k])
                part(a.bn3, b.norm)
            else:
                for theirs_, ours_ in zip((a.conv1, a.bn1, a.conv2, a.bn2), (b.first, b.norm1, b.second, b.norm2),
                                          strict=True):  # fmt: skip
                    part(theirs_, ours_)
            if a.downsample is not None:
                part(a.downsample, b.short)
    part(theirs.fc, ours.heads["kind"][1])
    for module in ours.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.0


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_a_depth_is_the_resnet_of_that_depth(depth: int, dimensions: int) -> None:
    torch.manual_seed(1)
    theirs = monais(depth, dimensions, 4).eval()
    first = 16 if depth == 50 else 4
    ours = build(dimensions=dimensions, depth=depth, channels=[first, 2 * first, 4 * first, 8 * first]).eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    copy(theirs, ours)
    x = torch.randn(2, 1, *(8, 16, 24)[3 - dimensions :])
    with torch.inference_mode():
        found = ours({"ct": x if dimensions == 3 else x[:, :, None]}, {})["kind"]
        torch.testing.assert_close(found, theirs(x), atol=1e-4, rtol=1e-4)


def test_further_stages_have_as_many_units_as_the_last() -> None:
    network = build(depth=34, strides=[*STRIDES, [1, 2, 2]], channels=[4] * 5, kernels=[[3, 3, 3]] * 5)
    assert [sum(hasattr(m, "short") for m in stage.modules()) for stage in network.encoder] == [3, 4, 6, 3, 3]


@pytest.mark.parametrize("said", [{"unit": "plain"}, {"units": 2}, {"entry": "unit"}])
def test_a_depth_and_what_it_says_already_do_not_go_together(said) -> None:
    with pytest.raises(PlanError, match=rf"options\.{next(iter(said))}: depth 18 says it already"):
        build(depth=18, channels=[4] * 4, **said)


@pytest.mark.parametrize("depth", [11, "18", 101])
def test_other_depths_are_refused(depth) -> None:
    with pytest.raises(PlanError, match=r"network\.options\.depth: .*10, 18, 34 or 50"):
        build(depth=depth, channels=[4] * 4)


@pytest.mark.parametrize(("squeeze", "kind"), [(None, ChannelSqueeze), ("spatial", SpatialSqueeze)])
def test_a_squeezed_one_squeezes_every_unit_as_asked(squeeze: str | None, kind: type[nn.Module]) -> None:
    options = {"squeeze": squeeze} if squeeze else {}
    network = build("se-resnet", channels=[4] * 4, **options)
    units = [m for m in network.encoder.modules() if hasattr(m, "short")]
    assert len(units) == 8
    assert all(type(u.squeeze) is kind for u in units)
    without = build("se-resnet", channels=[4] * 4, squeeze="none")
    assert all(u.squeeze is None for u in without.encoder.modules() if hasattr(u, "short"))


def test_its_decoder_is_built_for_heads_that_need_one_alone() -> None:
    assert not list(build(channels=[4] * 4).decoder.parameters())
    dense = build(channels=[4] * 4, heads={"organ": HeadSpec("dense", 2)}).eval()
    assert dense({"ct": torch.randn(1, 1, 5, 9, 10)}, {})["organ"].shape == (1, 2, 5, 9, 10)
