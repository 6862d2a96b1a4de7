"""The one path through all layers, and the model folder that carries it."""

from isocenter.pipeline.cached import PreparedCases, prepare_cached
from isocenter.pipeline.model import MANIFEST, WEIGHTS, Model
from isocenter.pipeline.pipeline import Pipeline
from isocenter.pipeline.sample import Sample

__all__ = ["MANIFEST", "WEIGHTS", "Model", "Pipeline", "PreparedCases", "Sample", "prepare_cached"]
