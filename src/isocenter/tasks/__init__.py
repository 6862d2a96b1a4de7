"""Third layer: decisions. Segmentation, detection, classification; the contract is in `isocenter.tasks.contract`."""

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
from isocenter.tasks.reducers import BlendReducer, MeanReducer, PassReducer, importance
from isocenter.tasks.segmentation import Segmentation
from isocenter.tasks.upsampling import SlabUpsampler

__all__ = [
    "BlendReducer",
    "Calibration",
    "Decoded",
    "MeanReducer",
    "PassReducer",
    "Placement",
    "Reducer",
    "Segmentation",
    "Slab",
    "SlabUpsampler",
    "Targets",
    "Task",
    "Window",
    "build_task",
    "importance",
    "task",
    "tasks",
]
