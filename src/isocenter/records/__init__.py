"""What the floors above pass to each other: cases, annotations, predictions, findings, and the error tree."""

from isocenter.errors import (
    ConfigError,
    DatasetError,
    FileFormatError,
    GeometryError,
    IsocenterError,
    LabelError,
    MissingExtraError,
    ModelIntegrityError,
    PlanError,
    SeriesError,
    SplitError,
    ValueRangeError,
)
from isocenter.records.annotations import Annotation, Boxes, ClassLabel, LabelMap, Masks, Points, Scalar
from isocenter.records.case import Case, ImageRef, Region
from isocenter.records.finding import Finding, Measurement
from isocenter.records.labels import IGNORE, Code, LabelSchema, Structure
from isocenter.records.prediction import Flag, Prediction, Provenance

__all__ = [
    "IGNORE",
    "Annotation",
    "Boxes",
    "Case",
    "ClassLabel",
    "Code",
    "ConfigError",
    "DatasetError",
    "FileFormatError",
    "Finding",
    "Flag",
    "GeometryError",
    "ImageRef",
    "IsocenterError",
    "LabelError",
    "LabelMap",
    "LabelSchema",
    "Masks",
    "Measurement",
    "MissingExtraError",
    "ModelIntegrityError",
    "PlanError",
    "Points",
    "Prediction",
    "Provenance",
    "Region",
    "Scalar",
    "SeriesError",
    "SplitError",
    "Structure",
    "ValueRangeError",
]
