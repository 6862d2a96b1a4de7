"""The verbs behind the command line and the public face."""

from isocenter.workflow.demonstrating import demo
from isocenter.workflow.evaluating import evaluate
from isocenter.workflow.fitting import fit
from isocenter.workflow.inspecting import Inspection, inspect
from isocenter.workflow.model import TrainedModel, load
from isocenter.workflow.planning import plan
from isocenter.workflow.predicting import FORMATS, Result, predict
from isocenter.workflow.simulating import simulate
from isocenter.workflow.studies import find_study

__all__ = [
    "FORMATS",
    "Inspection",
    "Result",
    "TrainedModel",
    "demo",
    "evaluate",
    "find_study",
    "fit",
    "inspect",
    "load",
    "plan",
    "predict",
    "simulate",
]
