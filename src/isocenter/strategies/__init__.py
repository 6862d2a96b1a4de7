"""Kinds of optimisation steps, one a file."""

from isocenter.strategies.scikit import ScikitLearn
from isocenter.strategies.supervised import Supervised

__all__ = ["ScikitLearn", "Supervised"]
