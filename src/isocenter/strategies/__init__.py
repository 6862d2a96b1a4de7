"""Kinds of optimisation steps, one a file."""

from isocenter.strategies.supervised import Supervised

__all__ = ["Supervised"]
