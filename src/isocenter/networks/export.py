"""Networks in the forms that other runtimes read: OpenVINO and ONNX.

Those runtimes know tensors by position, not by name. `Positional` is the adapter: images (and vectors) in the order of
the plan, then, where some may be missing, one tensor ``present`` ``(batch, input)`` of 0 and 1; outputs in the order of
the heads. Sizes are fixed at export: an exported network is one window and one batch.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import MissingExtraError
from isocenter.plan import InputSpec

if TYPE_CHECKING:
    import openvino

__all__ = ["Positional", "example_of", "import_openvino", "to_onnx", "to_openvino"]

PRESENT = "present"


class Positional(nn.Module):
    """A network with its inputs and outputs in order.

    Args:
        network: Under `isocenter.networks.contract`.
        inputs: Of the plan.
        outputs: Names of the outputs wanted, in order.

    Example:
        >>> from isocenter.networks import HeadSpec, build_network
        >>> from isocenter.plan import NetworkSpec
        >>> inputs, heads = [InputSpec(name="ct")], {"organ": HeadSpec("dense", 3)}
        >>> network = build_network(NetworkSpec(options={"channels": [2, 4], "strides": [[1, 1, 1], [2, 2, 2]]}),
        ...                         inputs, heads).eval()
        >>> (organ,) = Positional(network, inputs, ["organ"])(torch.zeros(1, 1, 4, 8, 8))
        >>> organ.shape
        torch.Size([1, 3, 4, 8, 8])
    """

    def __init__(self, network: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.names = [i.name for i in inputs]
        self.outputs = list(outputs)
        self.optional = any(not i.required for i in inputs)

    @property
    def input_names(self) -> list[str]:
        """In order."""
        return [*self.names, PRESENT] if self.optional else list(self.names)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        inputs = dict(zip(self.names, tensors, strict=False))
        present = {n: tensors[-1][:, k] for k, n in enumerate(self.names)} if self.optional else {}
        found = self.network(inputs, present)
        return tuple(found[name] for name in self.outputs)


def example_of(inputs: Sequence[InputSpec], shape: Sequence[int], *, batch: int = 1, seed: int = 0) -> list[Tensor]:
    """Random tensors for `Positional`, everything present.

    Args:
        inputs: Of the plan.
        shape: Of a window: slice, row, column.
        batch: Windows at once.
        seed: Of the values.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = [
        torch.randn(batch, i.channels, *(shape if i.kind == "image" else (1, 1, 1)), generator=generator)
        for i in inputs
    ]
    return [*tensors, torch.ones(batch, len(inputs))] if any(not i.required for i in inputs) else tensors


def to_onnx(
    network: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[str], example: Sequence[Tensor], file: Path
) -> None:
    """Write a network as ONNX, its weights inside the file.

    Args:
        network: In evaluation mode, 32 bit.
        inputs: Of the plan.
        outputs: Names of the outputs wanted.
        example: From `example_of`; its sizes are those of the exported network.
        file: To write.

    Raises:
        MissingExtraError: The extra ``export`` is not installed.
    """
    try:
        import onnx  # noqa: F401 torch asks for both late, in words of its own
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("ONNX needs onnx and onnxscript: pip install 'isocenter[export]'") from None
    flat = Positional(network, inputs, outputs).eval()
    with torch.inference_mode(), _quiet():
        torch.onnx.export(
            flat, tuple(example), str(file), input_names=flat.input_names, output_names=list(outputs), dynamo=True,
            external_data=False, verbose=False,
        )  # fmt: skip


def to_openvino(
    network: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[str], example: Sequence[Tensor]
) -> openvino.Model:
    """A network as an OpenVINO model.

    Args:
        network: In evaluation mode, 32 bit.
        inputs: Of the plan.
        outputs: Names of the outputs wanted.
        example: From `example_of`; its sizes are those of the exported network.

    Raises:
        MissingExtraError: The extra ``export`` is not installed.
    """
    ov = import_openvino()
    flat = Positional(_without_group_norm(network), inputs, outputs).eval()
    with torch.inference_mode(), _quiet():
        # the exported graph has sizes as constants, which tracing leaves to the runtime to find
        model: openvino.Model = ov.convert_model(torch.export.export(flat, tuple(example)))
    return model


def import_openvino() -> Any:
    """OpenVINO, with its telemetry off.

    Converting a model would send usage figures to its maker. Its own code runs without the sender where that cannot be
    imported.

    Raises:
        MissingExtraError: It is not installed.
    """
    if "openvino.tools.ovc" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # Python's way to make an import fail
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("OpenVINO is not installed: pip install 'isocenter[export]'") from None
    return openvino


class _SpelledGroupNorm(nn.Module):
    """Group norm in elementary steps.

    The CPU plugin of OpenVINO 2026.4 crashes when it compiles two group norms in a row that a sum follows each time.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        parts = x.reshape(x.shape[0], self.groups, -1)
        y = functional.layer_norm(parts, parts.shape[-1:], eps=self.eps).reshape(x.shape)
        shape = [1, -1] + [1] * (x.ndim - 2)
        return y * self.weight.view(shape) + self.bias.view(shape)


def _without_group_norm(network: nn.Module) -> nn.Module:
    if not any(isinstance(m, nn.GroupNorm) for m in network.modules()):
        return network
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, _SpelledGroupNorm(child))
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of every size that becomes a constant, which is meant here."""
    import logging

    before = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
