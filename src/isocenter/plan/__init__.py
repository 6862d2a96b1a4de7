"""The typed plan: its schema, its files, and the registry of plug-ins it can name."""

from isocenter.plan.budget import BudgetSpec, CandidateSpec, read_gigabytes, read_seconds
from isocenter.plan.files import dump_plan, parse_plan, read_plan, set_values, write_plan
from isocenter.plan.learning import AugmentationSpec, InferenceSpec, TrainingSpec, ViewSpec
from isocenter.plan.measured import FeatureSpec, MeasuredSpec, QuantitySpec
from isocenter.plan.options import Options, read_options
from isocenter.plan.registry import Registry
from isocenter.plan.schema import (
    SCHEMA_VERSION,
    InputSpec,
    IntensitySpec,
    NetworkSpec,
    Plan,
    PreprocessSpec,
    StructureSpec,
    TaskSpec,
)

__all__ = [
    "SCHEMA_VERSION",
    "AugmentationSpec",
    "BudgetSpec",
    "CandidateSpec",
    "FeatureSpec",
    "InferenceSpec",
    "InputSpec",
    "IntensitySpec",
    "MeasuredSpec",
    "NetworkSpec",
    "Options",
    "Plan",
    "PreprocessSpec",
    "QuantitySpec",
    "Registry",
    "StructureSpec",
    "TaskSpec",
    "TrainingSpec",
    "ViewSpec",
    "dump_plan",
    "parse_plan",
    "read_gigabytes",
    "read_options",
    "read_plan",
    "read_seconds",
    "set_values",
    "write_plan",
]
