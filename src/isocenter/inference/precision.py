"""Which arithmetic a machine computes natively."""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["Precision", "autocast", "resolve_precision"]

Precision = Literal["auto", "fp32", "bf16"]


def resolve_precision(wanted: Precision, device: torch.device | str = "cpu") -> Literal["fp32", "bf16"]:
    """``"auto"`` becomes bf16 where the processor multiplies it natively (elsewhere it is emulated and slower).

    Example:
        >>> resolve_precision("fp32"), resolve_precision("auto") in ("fp32", "bf16")
        ('fp32', True)
    """
    if wanted != "auto":
        return wanted
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # AVX512-BF16 or AMX on x86; torch.cpu has no public test for the former
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    native = any(test is not None and test() for test in (probe, tiles))
    return "bf16" if native and kind == "cpu" else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: torch.device | str = "cpu") -> torch.autocast:
    """Context in which convolutions run in ``precision``."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")
