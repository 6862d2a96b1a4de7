"""The families compute what their definitions say; checked against MONAI, and against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, build_network, networks
from isocenter.networks.contract import small_options
from isocenter.plan import InputSpec, NetworkSpec

CT = (InputSpec(name="ct"),)
DENSE = {"organ": HeadSpec("dense", 3, levels=3)}


def build(name: str, dimensions: int = 3, heads=None, inputs=CT, seed: int = 0, **options):
    torch.manual_seed(seed)
    spec = NetworkSpec(name=name, dimensions=dimensions, options={**small_options(name), **options})
    return build_network(spec, inputs, heads or DENSE)


def image(shape=(6, 24, 20), batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    return {"ct": torch.randn(batch, 1, *shape, generator=torch.Generator().manual_seed(seed))}


def parameters(network) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_segresnet_computes_what_monais_does(dimensions: int) -> None:
    from monai.networks.nets.segresnet import SegResNet

    theirs = SegResNet(spatial_dims=dimensions, init_filters=8, in_channels=1, out_channels=3, blocks_down=(1, 2, 2, 4),
                       blocks_up=(1, 1, 1)).eval()  # fmt: skip
    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    ours = build("segresnet", dimensions, {"organ": HeadSpec("dense", 3)}, strides=strides, channels=[8, 16, 32, 64],
                 units=[1, 2, 2, 4]).eval()  # fmt: skip
    _copy_segresnet(theirs, ours)
    assert parameters(ours) == parameters(theirs)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 1, *(16, 24, 32)[3 - dimensions :], generator=generator)
    with torch.inference_mode():
        wanted = theirs(x)
        stack = x if dimensions == 3 else x[:, :, None]
        found = ours({"ct": stack}, {})["organ"]
    torch.testing.assert_close(found if dimensions == 3 else found[:, :, 0], wanted, atol=1e-5, rtol=1e-5)


def _copy_segresnet(theirs, ours) -> None:
    """Weights in the order in which both compute."""

    def block(a, b) -> None:
        b.norm1.load_state_dict(a.norm1.state_dict())
        b.norm2.load_state_dict(a.norm2.state_dict())
        b.first.load_state_dict(a.conv1.conv.state_dict())
        b.second.load_state_dict(a.conv2.conv.state_dict())

    for k, layer in enumerate(theirs.down_layers):
        enter = theirs.convInit if k == 0 else layer[0]
        ours.encoder[k][0].load_state_dict(enter.conv.state_dict())
        for a, b in zip(list(layer)[1:], list(ours.encoder[k])[2:], strict=True):
            block(a, b)
    levels = len(theirs.up_layers)
    for k in range(levels):
        level = levels - 1 - k
        ours.decoder.enlarge[level].reduce.load_state_dict(theirs.up_samples[k][0].conv.state_dict())
        block(theirs.up_layers[k][0], ours.decoder[level])
    ours.decoder.finish[0][0].load_state_dict(theirs.conv_final[0].state_dict())
    ours.heads["organ"][0].load_state_dict(theirs.conv_final[2].conv.state_dict())


def test_a_swin_unetr_is_monais() -> None:
    from monai.networks.nets.swin_unetr import SwinUNETR

    torch.manual_seed(0)
    theirs = SwinUNETR(in_channels=1, out_channels=3, feature_size=12, depths=(1, 1, 1, 1), window_size=3,
                       spatial_dims=2).eval()  # fmt: skip
    ours = build("swin-unetr", 2, {"organ": HeadSpec("dense", 2), "edge": HeadSpec("dense", 1, bias=-2.0)}).eval()
    ours.body.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        wanted, found = theirs(x), ours({"ct": x[:, :, None]}, {})
    torch.testing.assert_close(found["organ"][:, :, 0], wanted[:, :2])
    torch.testing.assert_close(found["edge"][:, :, 0], wanted[:, 2:] - 2)


def test_units_of_a_stage_come_as_asked_and_the_last_number_holds_on() -> None:
    def blocks(**options) -> list[int]:
        found = build("unet", units=options["units"]).encoder
        return [1 if type(stage).__name__ == "ResidualBlock" else len(stage) for stage in found]

    assert blocks(units=1) == [1, 1, 1]
    assert blocks(units=3) == [3, 3, 3]
    assert blocks(units=[1, 2]) == [1, 2, 2]


@pytest.mark.parametrize("unit", ["plain", "bottleneck"])
def test_other_units_have_other_parameters(unit: str) -> None:
    assert parameters(build("unet", unit=unit)) < parameters(build("unet"))


def test_gates_weigh_the_skips_of_an_attention_unet() -> None:
    network = build("attention-unet").eval()
    with torch.inference_mode():
        before = network(image(), {})["organ"]
        for gate in network.decoder.gates:
            gate.score.bias.fill_(-50.0)  # shut
        features = network.encoder(network.stem(image()["ct"]))
        shut = network.decoder([torch.zeros_like(f) for f in features[:-1]] + features[-1:])[0]
        zero = network.decoder(features)[0]
    torch.testing.assert_close(zero, shut, atol=1e-5, rtol=1e-5)
    assert before.shape == (2, 3, 6, 24, 20)


@pytest.mark.parametrize("name", ["resnet", "se-resnet", "densenet"])
@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_classifiers_pool_as_asked_and_build_no_decoder(name: str, pooling: str) -> None:
    network = build(name, heads={"kind": HeadSpec("global", 4)}, pooling=pooling)
    assert not list(network.decoder.parameters())
    assert network(image(), {})["kind"].shape == (2, 4)


def test_a_max_is_what_the_strongest_slice_says() -> None:
    network = build("resnet", 2, {"kind": HeadSpec("global", 1)}, pooling="max").eval()
    stack = image((5, 24, 20), batch=1)["ct"]
    with torch.inference_mode():
        each = [network.encoder(network.stem(stack[:, :, z]))[-1].flatten(2).mean(2) for z in range(5)]
        wanted = network.heads["kind"](torch.stack(each).amax(0))
        torch.testing.assert_close(network({"ct": stack}, {})["kind"], wanted, atol=1e-5, rtol=1e-5)


def test_squeezing_looks_at_what_the_norm_would_hide() -> None:
    network = build("se-resnet", norm="instance", heads={"kind": HeadSpec("global", 2)})
    seen: list[Tensor] = []
    squeeze = network.encoder[1][1].squeeze
    squeeze.down.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network.eval()(image(seed=0), {})
    network(image(seed=5), {})
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_slices_of_a_pseudo3d_network_speak_to_each_other_within_the_stack_alone() -> None:
    network = build("pseudo3d").eval()
    plain = image((7, 24, 20))
    touched = {"ct": plain["ct"].clone()}
    touched["ct"][0, :, 3] += 5
    with torch.inference_mode():
        change = (network(touched, {})["organ"] - network(plain, {})["organ"]).abs().amax((1, 3, 4))
    assert (change[0] > 1e-5).all(), "a slice is heard in every other"
    assert (change[1] == 0).all(), "another sample hears nothing"


def test_a_pseudo3d_network_takes_any_number_of_slices() -> None:
    network = build("pseudo3d", recurrence="lstm", context=1, recurrent_levels=3).eval()
    for slices in (1, 2, 9):
        assert network(image((slices, 16, 16)), {})["organ"].shape == (2, 3, slices, 16, 16)


def test_tokens_carry_from_one_end_of_a_hybrid_network_to_the_other() -> None:
    strides, heads = [[1, 1, 1], [1, 2, 2]], {"organ": HeadSpec("dense", 2)}
    options = {"strides": strides, "channels": [4, 8], "attention_stages": 1, "attention_units": 2, "norm": "batch"}
    plain = image((2, 8, 96), batch=1)
    touched = {"ct": plain["ct"].clone()}
    touched["ct"][..., :4] += 5
    far = []
    for tokens in (0, 4):
        network = build("hybrid", heads=heads, tokens=tokens, **options).eval()
        with torch.inference_mode():
            change = (network(touched, {})["organ"] - network(plain, {})["organ"]).abs()
        far.append(float(change[..., 80:].max()))
    assert far[0] == 0, "windows alone do not reach that far"
    assert far[1] > 0


def test_a_light_network_is_light() -> None:
    options = {"stem": [2, 2, 2], "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "channels": [8, 16, 32]}
    light, unet = build("light", **options), build("unet", **options)
    assert parameters(light) < parameters(unet)
    assert isinstance(light.stem[0], torch.nn.Conv3d)
    assert light.stem[0].stride == (2, 2, 2)


@pytest.mark.parametrize("name", [n for n in networks.names() if n not in ("swin-unetr", "measured")])
def test_dropout_is_where_the_option_puts_it(name: str) -> None:
    from isocenter.networks.blocks import dropout_layers

    assert dropout_layers(build(name)) == []
    assert dropout_layers(build(name, dropout=0.3))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("unet", {"unit": "plain", "squeeze": "both"}, "is of residual units"),
        ("hybrid", {"channels": [4, 6, 7]}, "7 is no multiple of the 2 attention heads"),
        ("light", {"chanels": [2]}, "network.options.chanels: no such option .did you mean 'channels'"),
        ("vnet", {"channels": [4]}, "3 strides for 1 channels"),
        ("vnet", {"kernel": 4}, "network.options.kernel: 4 is even .* make it odd"),
        ("segresnet", {"units": []}, "network.options.units"),
        ("swin-unetr", {"width": 13}, "network.options.width: .*multiple of 12"),
        ("densenet", {"strides": [[2, 2, 2], [2, 2, 2], [2, 2, 2]]}, "make it .1, 1, 1."),
    ],
)
def test_options_that_do_not_fit_are_refused(name: str, options, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        build(name, **options)


def test_attention_heads_that_do_not_divide_channels_are_refused() -> None:
    spec = NetworkSpec(name="swin-unetr", options={"width": 12, "heads": [3, 5, 12, 24]})
    with pytest.raises(PlanError, match="5 attention heads do not divide the 24 channels of stage 1"):
        build_network(spec, CT, DENSE)


def test_a_vector_needs_a_head_that_can_use_it() -> None:
    inputs = (*CT, InputSpec(name="age", kind="vector"))
    with pytest.raises(PlanError, match="'age' is a vector, which only answers about the whole case can use"):
        build("unet", inputs=inputs)
    with pytest.raises(PlanError, match=r"network\.name 'measured'"):
        build("unet", inputs=inputs[1:])
