"""V-Net: what its definition says, once more in functions of torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.networks import HeadSpec, build_network
from isocenter.plan import InputSpec, NetworkSpec

CT = (InputSpec(name="ct"),)


def build(dimensions: int = 3, **options):
    torch.manual_seed(0)
    spec = NetworkSpec(name="vnet", dimensions=dimensions, options=options)
    return build_network(spec, CT, {"organ": HeadSpec("dense", 3)})


@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_computes_what_its_definition_says(dimensions: int) -> None:
    strides = [[1, 1, 1], [2, 2, 2]]
    options = {"strides": strides, "channels": [3, 5], "kernels": [[3, 3, 3]] * 2, "units": [1, 2]}
    network = build(dimensions, **options).eval()
    state = network.state_dict()
    convolve = functional.conv3d if dimensions == 3 else functional.conv2d
    enlarge = functional.conv_transpose3d if dimensions == 3 else functional.conv_transpose2d

    def normed(x: Tensor, conv: str, norm: str, *, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        y = convolve(x, weight, stride=stride, padding=0 if stride > 1 else weight.shape[-1] // 2)
        return functional.instance_norm(y, weight=state[f"{norm}.weight"], bias=state[f"{norm}.bias"])

    def active(x: Tensor, at: str) -> Tensor:
        slope = state[f"{at}.weight"].view(-1, *[1] * dimensions)
        return torch.where(x > 0, x, slope * x)

    def stage(x: Tensor, at: str, units: int, stride: int = 1) -> Tensor:
        x = active(normed(x, f"{at}.enter.0", f"{at}.enter.1", stride=stride), f"{at}.enter.2")
        y = x
        for k in range(units - 1):
            y = active(normed(y, f"{at}.body.{k}.0", f"{at}.body.{k}.1"), f"{at}.body.{k}.2")
        y = normed(y, f"{at}.body.{units - 1}", f"{at}.body.{units}")
        return active(x + y, f"{at}.act")

    x = torch.randn(2, 1, *(4, 6, 8)[3 - dimensions :], generator=torch.Generator().manual_seed(1))
    fine = stage(x, "encoder.0", 1)
    coarse = stage(fine, "encoder.1", 2, stride=2)
    up = enlarge(coarse, state["decoder.enlarge.0.weight"], state["decoder.enlarge.0.bias"], stride=2)
    y = stage(torch.cat([up, fine], 1), "decoder.0", 1)
    wanted = convolve(y, state["heads.organ.0.weight"], state["heads.organ.0.bias"])
    with torch.inference_mode():
        found = network({"ct": x if dimensions == 3 else x[:, :, None]}, {})["organ"]
    torch.testing.assert_close(found if dimensions == 3 else found[:, :, 0], wanted, atol=1e-5, rtol=1e-5)


def test_kernels_are_large_along_fine_axes_alone() -> None:
    network = build(strides=[[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]], channels=[2] * 4, kernel=7)
    sizes = [{m.kernel_size for m in stage.body.modules() if isinstance(m, nn.Conv3d)} for stage in network.encoder]
    assert sizes == [{(1, 7, 7)}, {(1, 7, 7)}, {(1, 7, 7)}, {(7, 7, 7)}]
    assert [stage.enter[0].kernel_size for stage in list(network.encoder)[1:]] == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]


def test_kernels_that_are_stated_are_taken() -> None:
    network = build(strides=[[1, 1, 1]], channels=[2], kernels=[[1, 7, 3]])
    assert network.encoder[0].enter[0].kernel_size == (1, 7, 5)


def test_every_activation_is_a_prelu() -> None:
    kinds = {type(m) for m in build().modules() if type(m).__module__ == "torch.nn.modules.activation"}
    assert kinds == {nn.PReLU}
