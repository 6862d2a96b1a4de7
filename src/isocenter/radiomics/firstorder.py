"""First-order features: how the values under a structure are spread."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["first_order"]


def first_order(values: NDArray[np.floating], *, bins: int = 32) -> dict[str, float]:
    """First-order features of the values of an image under a mask.

    Args:
        values: Of the voxels, in any order.
        bins: Of equal width between least and largest value, for entropy and uniformity.

    Returns:
        ``mean``, ``std`` (of the population), ``skewness``, ``kurtosis`` (0 for a normal distribution), ``median``,
        ``minimum``, ``maximum``, ``p10``, ``p90``, ``interquartile_range``, ``mean_absolute_deviation``, ``energy``,
        ``root_mean_square``, ``entropy`` (bits), ``uniformity``; NaN without values.

    Example:
        >>> found = first_order(np.array([1.0, 2.0, 3.0, 4.0]))
        >>> found["mean"], found["skewness"], found["energy"], found["entropy"]
        (2.5, 0.0, 30.0, 2.0)
    """
    x = np.asarray(values, np.float64).ravel()
    if not len(x):
        return dict.fromkeys(_NAMES, math.nan)
    mean, std = float(x.mean()), float(x.std())
    p10, p25, median, p75, p90 = (float(v) for v in np.percentile(x, (10, 25, 50, 75, 90)))
    share = np.histogram(x, bins)[0] / len(x) if std else np.ones(1)
    share = share[share > 0]
    centred = (x - mean) / std if std else np.zeros_like(x)
    found = (
        mean, std, float((centred**3).mean()), float((centred**4).mean() - 3) if std else 0.0, median, float(x.min()),
        float(x.max()), p10, p90, p75 - p25, float(np.abs(x - mean).mean()), float((x**2).sum()),
        float(np.sqrt((x**2).mean())), float(-(share * np.log2(share)).sum()) + 0.0, float((share**2).sum()),
    )  # fmt: skip
    return dict(zip(_NAMES, found, strict=True))


_NAMES = (
    "mean", "std", "skewness", "kurtosis", "median", "minimum", "maximum", "p10", "p90", "interquartile_range",
    "mean_absolute_deviation", "energy", "root_mean_square", "entropy", "uniformity",
)  # fmt: skip
