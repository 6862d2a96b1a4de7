"""Checkpoints without pickle: tensors of modules and optimizers as safetensors, the rest as its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isocenter.errors import ModelIntegrityError
from isocenter.io.files import atomic_path

__all__ = ["read_checkpoint", "write_checkpoint"]

FORMAT = "isocenter-checkpoint-2"


def write_checkpoint(
    path: Path,
    modules: nn.Module,
    optimizers: Mapping[str, Optimizer],
    *,
    step: int,
    plan: str,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Everything that a fit needs to go on after ``step`` steps; written aside, then renamed.

    Args:
        path: Of the file.
        modules: Of the strategy.
        optimizers: Of the strategy.
        step: Steps done.
        plan: Plan and data as text; a resume with another is refused.
        facts: Whatever else is to come back, as JSON can hold it.

    Raises:
        ConfigError: The place cannot be written to, or is full; what was there before is whole.
    """
    from safetensors.torch import save

    tensors = {f"module.{k}": v.detach().cpu().contiguous() for k, v in modules.state_dict().items()}
    for name, optimizer in optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{name}.{number}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    meta = {"format": FORMAT, "step": str(step), "plan": plan, "facts": json.dumps(facts or {})}
    data = save(tensors, meta | {"digest": _digest(tensors, meta)})
    with atomic_path(path) as aside:
        aside.write_bytes(data)  # not save_file: its errors do not say that a disk is full


def read_checkpoint(
    path: Path, modules: nn.Module, optimizers: Mapping[str, Optimizer], *, plan: str
) -> tuple[int, dict[str, Any]]:
    """Load what `write_checkpoint` wrote; returns the steps done and the facts.

    Raises:
        ModelIntegrityError: Not a checkpoint, damaged, or made with another plan.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelIntegrityError(f"checkpoint {path}: cannot be read ({error}); start the fit anew") from None
    if meta.get("format") != FORMAT:
        raise ModelIntegrityError(f"checkpoint {path}: is not an isocenter checkpoint")
    digest = meta.pop("digest", None)
    if digest != _digest(tensors, meta):
        raise ModelIntegrityError(f"checkpoint {path}: was changed or damaged; start the fit anew")
    if meta["plan"] != plan:
        raise ModelIntegrityError(
            f"checkpoint {path}: was made with another plan or other cases; resume with the same or start anew"
        )
    try:
        modules.load_state_dict({k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")})
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise ModelIntegrityError(
            f"checkpoint {path}: does not fit the strategy's modules ({text}); start the fit anew"
        ) from None
    for name, optimizer in optimizers.items():
        _load_optimizer(optimizer, name, tensors)
    return int(meta["step"]), json.loads(meta["facts"])


def _digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and values; safetensors itself notices only a file that is cut off."""
    found = hashlib.sha256(repr(sorted(meta.items())).encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _load_optimizer(optimizer: Optimizer, name: str, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    prefix = f"optimizer.{name}."
    for key, value in tensors.items():
        if key.startswith(prefix):
            number, entry = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(number), {})[entry] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
