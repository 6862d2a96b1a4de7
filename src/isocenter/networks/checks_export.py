"""Whether an exported network computes what torch does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isocenter.networks.checks import Subject
from isocenter.networks.contract import HeadSpec
from isocenter.networks.export import Positional, example_of, import_openvino, to_onnx, to_openvino
from isocenter.plan import InputSpec

__all__ = ["TOLERANCE", "agrees", "missing"]

TOLERANCE = 1e-3
"""Of the largest output, and at least 1e-3 in absolute terms."""
INPUTS = (InputSpec(name="a"), InputSpec(name="b", required=False))
Arrays = list[NDArray[np.float32]]


def missing(form: str) -> str:
    """What is not installed, or nothing."""
    needed = ("openvino",) if form == "openvino" else ("onnx", "onnxscript", "onnxruntime")
    absent = [name for name in needed if find_spec(name) is None]
    return f"{', '.join(absent)} not installed: pip install 'isocenter[export]'" if absent else ""


def agrees(subject: Subject, heads: Mapping[str, HeadSpec], form: str, setting: str) -> None:
    """Export, run, compare.

    Raises:
        ContractError: It cannot be exported, or differs by more than `TOLERANCE`.
    """
    network = subject.build(heads, INPUTS).eval()
    example = example_of(INPUTS, (3, 18, 21), batch=2)
    with torch.inference_mode():
        wanted = [value.numpy() for value in Positional(network, INPUTS, list(heads))(*example)]
    try:
        found = (_openvino if form == "openvino" else _onnx)(network, list(heads), example)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise subject.fails(setting, f"cannot be exported to {form}: {type(error).__name__}: {text}") from error
    for name, a, b in zip(heads, wanted, found, strict=True):
        gap = float(np.abs(a - b).max())
        if not gap <= TOLERANCE * max(1.0, float(np.abs(a).max())):
            raise subject.fails(setting, f"{name!r} of {form} differs from torch by {gap:.2g}")


def _openvino(network: nn.Module, outputs: Sequence[str], example: Sequence[Tensor]) -> Arrays:
    model = to_openvino(network, INPUTS, outputs, example)
    # it would compute in bf16, unasked, where the processor can
    compiled = import_openvino().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled([value.numpy() for value in example]).values())


def _onnx(network: nn.Module, outputs: Sequence[str], example: Sequence[Tensor]) -> Arrays:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        to_onnx(network, INPUTS, outputs, example, file)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        by_name = dict(zip(Positional(network, INPUTS, outputs).input_names, example, strict=True))
        given = {i.name: by_name[i.name].numpy() for i in session.get_inputs()}
        found: Arrays = session.run(list(outputs), given)
    return found
