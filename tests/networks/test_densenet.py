"""DenseNet against MONAI's, with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isocenter.networks import HeadSpec, build_network
from isocenter.plan import InputSpec, NetworkSpec


@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_computes_what_monais_does_after_the_first_convolution(dimensions: int) -> None:
    from monai.networks.nets.densenet import DenseNet

    torch.manual_seed(0)
    theirs = DenseNet(dimensions, 1, 3, init_features=8, growth_rate=4, block_config=(2, 3, 2)).eval()
    for module in theirs.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
    options = {
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "kernels": [[3, 3, 3]] * 3, "units": [2, 3, 2], "growth": 4,
        "channels": [8, (8 + 2 * 4) // 2, ((8 + 2 * 4) // 2 + 3 * 4) // 2],
    }  # fmt: skip
    spec = NetworkSpec(name="densenet", dimensions=dimensions, options=options)
    ours = build_network(spec, [InputSpec(name="ct")], {"kind": HeadSpec("global", 3)}).eval()
    features = theirs.features
    features.conv0 = ours.encoder[0][0]  # theirs is seven wide, strided, and pooled after it
    features.norm0 = features.relu0 = features.pool0 = nn.Identity()
    for k in range(3):
        begin, *layers = ours.encoder[k]
        if k:
            before = getattr(features, f"transition{k}")
            for part, name in zip(begin.reduce, ("norm", "relu", "conv"), strict=True):
                part.load_state_dict(getattr(before, name).state_dict())
        for a, b in zip(getattr(features, f"denseblock{k + 1}"), layers, strict=False):
            for name, number in (("norm1", 0), ("conv1", 2), ("norm2", 3), ("conv2", 5)):
                b.body[number].load_state_dict(getattr(a.layers, name).state_dict())
    ours.encoder[2][-2].load_state_dict(features.norm5.state_dict())
    ours.heads["kind"][1].load_state_dict(theirs.class_layers.out.state_dict())
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    x = torch.randn(2, 1, *(8, 12, 16)[3 - dimensions :])
    with torch.inference_mode():
        found = ours({"ct": x if dimensions == 3 else x[:, :, None]}, {})["kind"]
        torch.testing.assert_close(found, theirs(x), atol=1e-5, rtol=1e-5)
