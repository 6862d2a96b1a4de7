"""Learning rate over steps."""

from __future__ import annotations

import math

__all__ = ["one_cycle"]


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate: a cosine up over the first ``warmup`` of the steps, a cosine down to 1/1000 (Smith 2018).

    Example:
        >>> [round(one_cycle(k, 100, 0.1), 3) for k in (0, 10, 99)]
        [0.04, 1.0, 0.001]
    """
    rise = max(1.0, steps * warmup)
    if step < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2
    done = (step - rise) / max(1.0, steps - 1 - rise)
    return 0.001 + 0.999 * (1 + math.cos(math.pi * min(done, 1.0))) / 2
