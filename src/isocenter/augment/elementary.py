"""Elementary functions in 32 bit that compilers turn into vector instructions, and the hash behind voxel noise.

Polynomials are least-squares fits on Chebyshev nodes; each function is within 3e-7 of the exact one (relative for
logarithms and `exp2`, absolute for `turn`). They are the same on every machine that follows IEEE 754.
"""

from __future__ import annotations

import numpy as np

from isocenter.volume.compiled import compiled

__all__ = ["exp2", "hashed", "log", "log2", "turn"]

_F = np.float32
_LN2 = _F(np.log(2.0))
_LOG2E = _F(1.0 / np.log(2.0))
_ROOT_HALF = np.int32(0x3F3504F3)  # bits of sqrt(1/2): mantissas are taken from there to sqrt(2)
_MANTISSA = np.int32(23)
_BIAS = np.int32(127)
_L0, _L1, _L2, _L3 = _F(0.333333286), _F(-0.250002965), _F(0.200014686), _F(-0.166422476)
_L4, _L5, _L6, _L7 = _F(0.142021738), _F(-0.12972239), _F(0.127123078), _F(-0.0810155851)
_E0, _E1, _E2 = _F(0.693147188), _F(0.240226509), _F(0.055503571)
_E3, _E4, _E5 = _F(0.00961805667), _F(0.00133908674), _F(0.000154614475)
_S0, _S1, _S2, _S3, _S4 = _F(6.28318528), _F(-41.3416807), _F(81.6024807), _F(-76.5812846), _F(39.7607221)
_C0, _C1, _C2 = _F(1.0), _F(-19.7392085), _F(64.9393466)
_C3, _C4, _C5 = _F(-85.4535682), _F(60.1439523), _F(-24.9818361)
_HALF, _QUARTER, _ONE = _F(0.5), _F(0.25), _F(1.0)


@compiled
def _split(x: np.float32) -> tuple[np.float32, np.float32]:
    """Exponent, and mantissa less 1 in sqrt(1/2) - 1 .. sqrt(2) - 1, of a positive normal number."""
    bits = _F(x).view(np.int32)
    exponent = (bits - _ROOT_HALF) >> _MANTISSA
    return _F(exponent), np.int32(bits - (exponent << _MANTISSA)).view(np.float32) - _ONE


@compiled
def _log1p(m: np.float32) -> np.float32:
    """Logarithm of 1 + m for a mantissa of `_split`."""
    tail = ((((((_L7 * m + _L6) * m + _L5) * m + _L4) * m + _L3) * m + _L2) * m + _L1) * m + _L0
    return m - m * m * (_HALF - m * tail)


@compiled
def log(x: np.float32) -> np.float32:
    """Natural logarithm of a positive normal number."""
    exponent, m = _split(x)
    return exponent * _LN2 + _log1p(m)


@compiled
def log2(x: np.float32) -> np.float32:
    """Logarithm to base 2 of a positive normal number."""
    exponent, m = _split(x)
    return exponent + _log1p(m) * _LOG2E


@compiled
def exp2(x: np.float32) -> np.float32:
    """2 to the power of x; x below -126 counts as -126, above 127 as 127."""
    x = min(max(x, _F(-126.0)), _F(127.0))
    whole = np.floor(x + _HALF)
    f = x - whole
    part = ((((_E5 * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0
    power: np.float32 = (_ONE + f * part) * np.int32((np.int32(whole) + _BIAS) << _MANTISSA).view(np.float32)
    return power


@compiled
def turn(u: np.float32) -> tuple[np.float32, np.float32]:
    """Cosine and sine of u turns, for u in 0..1: a point of the circle."""
    signed = u - _HALF
    b = abs(signed) - _QUARTER
    t = b * b
    across = b * ((((_S4 * t + _S3) * t + _S2) * t + _S1) * t + _S0)
    along = ((((_C5 * t + _C4) * t + _C3) * t + _C2) * t + _C1) * t + _C0
    return across, along if signed < 0 else -along


@compiled
def hashed(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 random bits of a key and a counter: the counter-th output of SplitMix64 (Steele et al. 2014)."""
    z = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
