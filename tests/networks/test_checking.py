"""Every registered network keeps the contract; a network that breaks it is caught, and told what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isocenter.errors import ContractError, PlanError
from isocenter.networks import check_network, network, networks
from isocenter.networks.contract import small_options

OURS = tuple(n for n in networks.names() if n not in ("swin-unetr", "measured"))


@pytest.mark.parametrize("name", OURS)
def test_every_network_keeps_the_contract(name: str) -> None:
    report = check_network(name, dimensions=[3], exports=["openvino"])
    assert report.count("passed") >= 20
    assert (report.count("not served"), report.count("skipped")) == (0, 0), str(report)


def test_a_wrapped_network_says_what_it_does_not_serve() -> None:
    report = check_network("swin-unetr", dimensions=[2], exports=[])
    assert report.count("passed") >= 10
    assert {c.setting for c in report.checks if c.outcome == "not served"} == {"2-D, strided", "2-D, global"}
    assert "take 'unet' or 'resnet'" in str(report)


def test_a_network_of_numbers_is_looked_at_as_one() -> None:
    report = check_network("measured", dimensions=[2])
    assert report.count("passed") == 6
    assert {c.setting for c in report.checks if c.outcome == "passed"} == {"2-D, global, of numbers"}


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.names())
def test_every_network_in_both_dimensions_and_both_exports(name: str) -> None:
    report = check_network(name)
    assert report.count("skipped") == 0


@pytest.mark.parametrize("name", OURS)
def test_every_network_names_options_of_a_small_instance(name: str) -> None:
    assert small_options(name)


class Plain(nn.Module):
    """Right in everything; what a test breaks is a subclass."""

    def __init__(self, spec, inputs, heads) -> None:
        super().__init__()
        if any(h.kind != "dense" for h in heads.values()):
            raise PlanError("dense alone")
        self.inputs = inputs
        self.body = nn.Conv3d(sum(i.channels for i in inputs) + len(inputs), 6, (1, 3, 3), padding=(0, 1, 1))
        self.heads = nn.ModuleDict({n: nn.Conv3d(6, h.channels, 1) for n, h in heads.items()})

    def fused(self, inputs, present):
        flags = {n: present.get(n, torch.ones(len(x))).to(x).view(-1, 1, 1, 1, 1) for n, x in inputs.items()}
        parts = [inputs[i.name] * flags[i.name] for i in self.inputs]
        return torch.cat(parts + [flags[i.name].expand_as(inputs[i.name][:, :1]) for i in self.inputs], 1)

    def forward(self, inputs, present):
        x = torch.tanh(self.body(self.fused(inputs, present)))
        return {n: head(x) for n, head in self.heads.items()}


class Shrinks(Plain):
    def forward(self, inputs, present):
        return {n: v[..., : max(1, v.shape[-1] - 1)] for n, v in super().forward(inputs, present).items()}


class Renames(Plain):
    def forward(self, inputs, present):
        return {f"{n}_": v for n, v in super().forward(inputs, present).items()}


class LevelsAlways(Plain):
    def forward(self, inputs, present):
        out = super().forward(inputs, present)
        return out | {f"{n}@1": v for n, v in out.items()}


class Idle(Plain):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.idle = nn.Parameter(torch.zeros(3))


class MixesSamples(Plain):
    def forward(self, inputs, present):
        return {n: v + v.mean(0, keepdim=True) for n, v in super().forward(inputs, present).items()}


class Random(Plain):
    def forward(self, inputs, present):
        return {n: v + torch.rand(1) for n, v in super().forward(inputs, present).items()}


class InPlace(Plain):
    def forward(self, inputs, present):
        for value in inputs.values():
            value.add_(1)
        return super().forward(inputs, present)


class Counts(Plain):
    calls = 0

    def forward(self, inputs, present):
        self.calls += 1
        return {n: v * self.calls for n, v in super().forward(inputs, present).items()}


class ReadsMissing(Plain):
    def fused(self, inputs, present):
        return super().fused(inputs, {}) + super().fused(inputs, present)


class ForgetsOne(Plain):
    def fused(self, inputs, present):
        last = self.inputs[-1].name
        many = len(self.inputs) > 1
        return super().fused({n: 0 * x if many and n == last else x for n, x in inputs.items()}, present)


class Hidden(Plain):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.factor = torch.randn(1) + next(DRAWS)

    def forward(self, inputs, present):
        return {n: v * self.factor for n, v in super().forward(inputs, present).items()}


class Keeps(Plain):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.kept: list = []

    def forward(self, inputs, present):
        out = super().forward(inputs, present)
        if self.training:
            self.kept.append([v.detach() for v in out.values()])
        return out

    def __deepcopy__(self, memo):
        return Keeps.__new__(Keeps)._take(self)

    def _take(self, other):
        nn.Module.__init__(self)
        import copy

        self.inputs, self.kept = other.inputs, []
        self.body, self.heads = copy.deepcopy(other.body), copy.deepcopy(other.heads)
        return self


class Coarse(Plain):
    def forward(self, inputs, present):
        out = super().forward(inputs, present)
        return {n: torch.floor(v * 500) if v.dtype == torch.bfloat16 else v for n, v in out.items()}


DRAWS = iter(range(10_000))
CHECKED = {"exports": [], "dimensions": [3], "options": {}}


def test_a_network_that_is_right_passes() -> None:
    network("plain-right")(Plain)
    report = check_network("plain-right", **CHECKED)
    assert report.count("not served") == 2
    assert str(report).startswith("plain-right: 10 checks passed\n")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Shrinks, r"3-D, dense, input 1 x \[1, 17, 20\]: output is .*expected \(1, 3, 1, 17, 20\)"),
        (Renames, r"gives \['voxels_'\] in evaluation, expected \['voxels'\]"),
        (LevelsAlways, r"gives \['voxels', 'voxels@1'\] in evaluation"),
        (Idle, r"no gradient reaches idle"),
        (MixesSamples, r"alone and in a batch of three, 'voxels' differs"),
        (Random, r"alone and in a batch of three|draws random numbers"),
        (InPlace, r"changed in place|differs|two evaluations"),
        (Counts, r"two evaluations of one input differ|differs"),
        (ReadsMissing, r"'b' is missing, but what stands in its tensor changes 'voxels'"),
        (ForgetsOne, r"of 2 images, 'b' changes nothing"),
        (Hidden, r"differ after weights went through safetensors"),
        (Keeps, r"tensors more after two further steps"),
        (Coarse, r"in bf16, 'voxels' is off by"),
    ],
)
def test_a_network_that_is_wrong_is_told_so(kind: type[nn.Module], said: str) -> None:
    name = f"wrong-{kind.__name__.lower()}"
    network(name)(kind)
    with pytest.raises(ContractError, match=said):
        check_network(name, **CHECKED)


def test_what_cannot_be_exported_is_told_so() -> None:
    class Unexported(Plain):
        def forward(self, inputs, present):
            x = next(iter(inputs.values()))
            # a branch on values is nothing that a graph can hold
            factor = 2.0 if float(x.sum()) > 0 else 1.0
            return {n: v * factor for n, v in super().forward(inputs, present).items()}

    network("wrong-unexported")(Unexported)
    with pytest.raises(ContractError, match=r"3-D, dense: cannot be exported to openvino|alone and in a batch"):
        check_network("wrong-unexported", dimensions=[3], exports=["openvino"])


def test_a_network_that_serves_nothing_or_does_not_exist() -> None:
    @network("wrong-nothing")
    def build(spec, inputs, heads):
        raise PlanError("never")

    with pytest.raises(ContractError, match="serves no head: never"):
        check_network("wrong-nothing")
    with pytest.raises(PlanError, match=r"no network 'lihgt' \(did you mean 'light'"):
        check_network("lihgt")
