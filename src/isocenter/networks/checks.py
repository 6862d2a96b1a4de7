"""What `check_network` looks at, one function each; a function's name is the check's."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isocenter.errors import ContractError
from isocenter.networks.contract import HeadSpec
from isocenter.plan import InputSpec

__all__ = ["FOR_ALL_HEADS", "FOR_EACH_HEAD", "FOR_NUMBERS", "NUMBERS", "ONE", "Subject", "vectors"]

Heads = Mapping[str, HeadSpec]
ONE = (InputSpec(name="a"),)
NUMBERS = (*ONE, InputSpec(name="n", kind="vector", channels=3))
SHAPES = ((1, 1, 1), (1, 17, 20), (3, 16, 33), (6, 24, 16), (2, 40, 9))
HALF_TOLERANCE = 0.1
"""Root mean square of what bf16 changes, of that of the outputs."""


@dataclass(frozen=True)
class Subject:
    """The network that is looked at.

    Attributes:
        name: Registered.
        dimensions: Of the instances.
        build: Makes one, always with the same seed.
        inputs: That it is given where it does not matter how many there are.
    """

    name: str
    dimensions: Literal[2, 3]
    build: Callable[[Heads, Sequence[InputSpec]], nn.Module]
    inputs: tuple[InputSpec, ...] = ONE

    def fails(self, setting: str, what: str) -> ContractError:
        """The error of a check."""
        return ContractError(f"network {self.name!r}, {setting}: {what}")

    def run(self, network: nn.Module, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Any:
        """Outputs, without gradients."""
        with torch.no_grad():
            return network(inputs, present or {})


def images(
    specs: Sequence[InputSpec], shape: Sequence[int] = (4, 24, 20), *, batch: int = 2, seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs."""
    generator = torch.Generator().manual_seed(seed)
    return {
        s.name: torch.randn(batch, s.channels, *(shape if s.kind == "image" else (1, 1, 1)), generator=generator)
        for s in specs
    }


def sizes_of_outputs(subject: Subject, heads: Heads, setting: str) -> None:
    """Odd, even and one-voxel sizes; coarser levels in training alone."""
    network = subject.build(heads, subject.inputs)
    ((name, head),) = heads.items()
    for shape in SHAPES:
        for batch in (1, 2):
            given = images(subject.inputs, shape, batch=batch)
            out = subject.run(network.eval(), given)
            where = f"input {batch} x {list(shape)}"
            if set(out) != {name}:
                raise subject.fails(setting, f"{where}: gives {sorted(out)} in evaluation, expected {[name]}")
            _check_size(subject, f"{setting}, {where}", head, out[name], (batch, shape))
    trained = subject.run(network.train(), images(subject.inputs, SHAPES[-1]))
    allowed = {f"{name}@{k}" if k else name for k in range(head.levels)}
    if name not in trained or set(trained) - allowed:
        raise subject.fails(setting, f"gives {sorted(trained)} in training, expected {name!r} and of {sorted(allowed)}")


def _check_size(subject: Subject, setting: str, head: HeadSpec, out: Tensor, given: Any) -> None:
    batch, shape = given
    found = tuple(out.shape)
    if head.kind == "global":
        right = found == (batch, head.channels)
        wanted: Any = (batch, head.channels)
    elif head.kind == "dense":
        wanted = (batch, head.channels, *shape)
        right = found == wanted
    else:
        plane = tuple(-(-n // head.stride) for n in shape[1:])
        wanted = (batch, head.channels, "its own", *plane)
        right = len(found) == 5 and found[:2] == (batch, head.channels) and found[3:] == plane
    if not right:
        raise subject.fails(setting, f"output is {found}, expected {wanted}")
    if not torch.isfinite(out).all():
        raise subject.fails(setting, "output is not finite")


def gradients_reach_every_parameter(subject: Subject, heads: Heads, setting: str) -> None:
    """No parameter that learns nothing, but for what one draw of dropout may hide."""
    specs = (InputSpec(name="a"), InputSpec(name="b", required=False))
    network = subject.build(heads, specs).train()
    present = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    for seed in range(3):
        out = network(images(specs, (5, 40, 40), seed=seed), present)
        # squares, since a sum after a norm does not depend on what goes into it
        torch.stack([(value.float() ** 2).sum() for value in out.values()]).sum().backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    if silent:
        raise subject.fails(setting, f"no gradient reaches {', '.join(silent[:5])}")


def samples_do_not_see_each_other(subject: Subject, heads: Heads, setting: str) -> None:
    """In evaluation, an output does not depend on the rest of the batch."""
    network = subject.build(heads, subject.inputs).eval()
    given = images(subject.inputs, batch=3)
    whole = subject.run(network, given)
    for name, value in whole.items():
        apart = torch.cat([subject.run(network, {n: v[k : k + 1] for n, v in given.items()})[name] for k in range(3)])
        gap = float((apart - value).abs().max())
        if gap > 1e-4 * max(1.0, float(value.abs().max())):
            raise subject.fails(setting, f"alone and in a batch of three, {name!r} differs by {gap:.2g}")


def evaluation_repeats_and_draws_nothing(subject: Subject, heads: Heads, setting: str) -> None:
    """Bit for bit, without torch's random numbers, and without touching what it is given."""
    network = subject.build(heads, subject.inputs).eval()
    given = images(subject.inputs)
    kept = {name: value.clone() for name, value in given.items()}
    state = torch.random.get_rng_state()
    first, second = subject.run(network, given), subject.run(network, given)
    if not torch.equal(state, torch.random.get_rng_state()):
        raise subject.fails(setting, "evaluation draws random numbers; is something dropped there?")
    if any(not torch.equal(first[n], second[n]) for n in first):
        raise subject.fails(setting, "two evaluations of one input differ")
    if any(not torch.equal(given[n], kept[n]) for n in given):
        raise subject.fails(setting, "the input was changed in place")


def one_to_four_images(subject: Subject, heads: Heads, setting: str) -> None:
    """Every image matters; of a missing one nothing does, but that it is missing."""
    for count in range(1, 5):
        specs = tuple(InputSpec(name=n, channels=1 + k % 2) for k, n in enumerate("abcd"[:count]))
        network = subject.build(heads, specs).eval()
        given = images(specs)
        plain = subject.run(network, given)
        for spec in specs:
            other = subject.run(
                network, given | {spec.name: 2 * given[spec.name] + 1 + images(specs, seed=1)[spec.name]}
            )
            if all(torch.equal(plain[n], other[n]) for n in plain):
                raise subject.fails(setting, f"of {count} images, {spec.name!r} changes nothing")
        if count > 1:
            _missing(subject, heads, count, setting)


def _missing(subject: Subject, heads: Heads, count: int, setting: str) -> None:
    specs = tuple(InputSpec(name=n, required=k == 0) for k, n in enumerate("abcd"[:count]))
    network = subject.build(heads, specs).eval()
    given, last = images(specs), specs[-1].name
    there = {s.name: torch.tensor([True, True]) for s in specs}
    gone = there | {last: torch.tensor([True, False])}
    full, none = subject.run(network, given, there), subject.run(network, given)
    part = subject.run(network, given, gone)
    noise = subject.run(network, given | {last: given[last] * torch.tensor([1.0, -7.0]).view(2, 1, 1, 1, 1)}, gone)
    for name in full:
        if not torch.allclose(full[name], none[name], atol=1e-5):
            raise subject.fails(setting, "an empty `present` is not the same as every image being there")
        if not torch.allclose(part[name], noise[name], atol=1e-5):
            raise subject.fails(setting, f"{last!r} is missing, but what stands in its tensor changes {name!r}")
        if torch.allclose(part[name][1], full[name][1], atol=1e-6):
            raise subject.fails(setting, f"{name!r} does not change when {last!r} is missing")


def half_precision(subject: Subject, heads: Heads, setting: str) -> None:
    """Under bf16 autocast close to 32 bit."""
    network = subject.build(heads, subject.inputs).eval()
    given = images(subject.inputs)
    exact = subject.run(network, given)
    with torch.autocast("cpu", torch.bfloat16):
        half = subject.run(network, given)
    for name, value in exact.items():
        gap = float((half[name].float() - value).pow(2).mean().sqrt() / value.pow(2).mean().sqrt().clamp_min(1e-6))
        if not gap <= HALF_TOLERANCE:
            raise subject.fails(setting, f"in bf16, {name!r} is off by {gap:.2g} of its root mean square")


def weights_follow_the_seed(subject: Subject, heads: Heads, setting: str) -> None:
    """Equal seeds, equal weights."""
    one, two = subject.build(heads, subject.inputs).state_dict(), subject.build(heads, subject.inputs).state_dict()
    torch.manual_seed(1)
    different = [k for k in one if not torch.equal(one[k], two[k])]
    if different:
        raise subject.fails(setting, f"two networks of one seed differ in {different[0]}")


def weights_through_safetensors(subject: Subject, heads: Heads, setting: str) -> None:
    """What was saved computes the same again, in another instance."""
    from safetensors.torch import load, save

    network, other = subject.build(heads, subject.inputs).eval(), subject.build(heads, subject.inputs).eval()
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in network.state_dict().items()})))
    given = images(subject.inputs)
    before, after = subject.run(network, given), subject.run(other, given)
    if any(not torch.equal(before[n], after[n]) for n in before):
        raise subject.fails(setting, "outputs differ after weights went through safetensors: is some state no buffer?")


def averaged_weights(subject: Subject, heads: Heads, setting: str) -> None:
    """A deep copy is a network of its own, and a mean of weights is one too."""
    network = subject.build(heads, subject.inputs).train()
    average = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    torch.stack([v.float().mean() for v in network(images(subject.inputs, (4, 32, 32)), {}).values()]).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 0.5)
    out = subject.run(average.eval(), images(subject.inputs))
    if any(not torch.isfinite(v).all() for v in out.values()):
        raise subject.fails(setting, "outputs of averaged weights are not finite")
    shared = {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in average.parameters()}
    if shared:
        raise subject.fails(setting, "a deep copy shares parameters with the network")


def memory_does_not_grow(subject: Subject, heads: Heads, setting: str) -> None:
    """Steps leave no tensors behind."""
    network = subject.build(heads, subject.inputs).train()

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(o), Tensor) for o in gc.get_objects())

    counts = []
    for _ in range(3):
        for _ in range(2):
            out = network(images(subject.inputs), {})
            torch.stack([v.float().mean() for v in out.values()]).sum().backward()
            network.zero_grad(set_to_none=True)
        del out
        counts.append(tensors())
    if counts[2] > counts[1]:
        raise subject.fails(setting, f"{counts[2] - counts[1]} tensors more after two further steps")


def vectors(subject: Subject, heads: Heads, setting: str) -> None:
    """Numbers of the case beside its images matter; of missing ones nothing does."""
    specs = (InputSpec(name="a"), InputSpec(name="n", kind="vector", channels=3, required=False))
    network = subject.build(heads, specs).eval()
    given = images(specs)
    gone = {"a": torch.tensor([True, True]), "n": torch.tensor([False, False])}
    plain = subject.run(network, given)["answer"]
    other = subject.run(network, given | {"n": given["n"] + 3})["answer"]
    if torch.allclose(plain, other):
        raise subject.fails(setting, "a vector changes nothing")
    if not torch.allclose(
        subject.run(network, given, gone)["answer"], subject.run(network, given | {"n": 0 * given["n"]}, gone)["answer"]
    ):
        raise subject.fails(setting, "a vector is missing, but what stands in its tensor changes the output")


FOR_EACH_HEAD = (
    sizes_of_outputs, gradients_reach_every_parameter, samples_do_not_see_each_other,
    evaluation_repeats_and_draws_nothing, half_precision,
)  # fmt: skip
FOR_ALL_HEADS = (
    one_to_four_images, weights_follow_the_seed, weights_through_safetensors, averaged_weights, memory_does_not_grow,
)  # fmt: skip
FOR_NUMBERS = (
    sizes_of_outputs, samples_do_not_see_each_other, evaluation_repeats_and_draws_nothing, half_precision,
    weights_follow_the_seed, weights_through_safetensors,
)  # fmt: skip
"""Of a network that reads numbers alone and is not learned step by step."""
