"""Third layer: decisions. Segmentation, detection, classification; the contract is in `isocenter.tasks.contract`."""

from isocenter.tasks.classification import Classification, ClassificationOptions
from isocenter.tasks.contract import (
    Calibration,
    Decoded,
    Placement,
    Reducer,
    Slab,
    Targets,
    Task,
    Window,
    build_task,
    task,
    tasks,
)
from isocenter.tasks.detection import Detection, DetectionOptions
from isocenter.tasks.options import TaskOptions, read_options
from isocenter.tasks.reducers import BlendReducer, MeanReducer, PassReducer, importance
from isocenter.tasks.segmentation import Segmentation, SegmentationOptions
from isocenter.tasks.upsampling import SlabUpsampler, labels_on_target

__all__ = [
    "BlendReducer",
    "Calibration",
    "Classification",
    "ClassificationOptions",
    "Decoded",
    "Detection",
    "DetectionOptions",
    "MeanReducer",
    "PassReducer",
    "Placement",
    "Reducer",
    "Segmentation",
    "SegmentationOptions",
    "Slab",
    "SlabUpsampler",
    "Targets",
    "Task",
    "TaskOptions",
    "Window",
    "build_task",
    "importance",
    "labels_on_target",
    "read_options",
    "task",
    "tasks",
]
