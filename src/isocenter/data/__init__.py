"""Datasets: folders of cases in several layouts, their splits, and what is wrong with them."""

from isocenter.data.boxes import BoxList, boxes_from_labels, read_boxes
from isocenter.data.bricks import CachedArray
from isocenter.data.cache import CacheEntry, CaseCache
from isocenter.data.checks import CaseReport, check_case, check_geometry, examine_case
from isocenter.data.dataset import CaseDataset, Dataset
from isocenter.data.draw import StratifyBy, kfold, make_splits
from isocenter.data.layouts import Layout, find_layout, layout_names, register_layout
from isocenter.data.modality import guess_modality
from isocenter.data.parallel import Progress, map_threads
from isocenter.data.problems import CaseProblem
from isocenter.data.splits import UNLABELLED, Splits, read_folds, write_folds

__all__ = [
    "UNLABELLED",
    "BoxList",
    "CacheEntry",
    "CachedArray",
    "CaseCache",
    "CaseDataset",
    "CaseProblem",
    "CaseReport",
    "Dataset",
    "Layout",
    "Progress",
    "Splits",
    "StratifyBy",
    "boxes_from_labels",
    "check_case",
    "check_geometry",
    "examine_case",
    "find_layout",
    "guess_modality",
    "kfold",
    "layout_names",
    "make_splits",
    "map_threads",
    "read_boxes",
    "read_folds",
    "register_layout",
    "write_folds",
]
