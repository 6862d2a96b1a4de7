"""The verbs behind the command line and the public face."""

from isocenter.workflow.evaluating import evaluate
from isocenter.workflow.fitting import fit
from isocenter.workflow.model import TrainedModel, load
from isocenter.workflow.planning import plan

__all__ = ["TrainedModel", "evaluate", "fit", "load", "plan"]
