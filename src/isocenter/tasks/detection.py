"""Detection: where objects of each kind are, as boxes with scores, in one slice or in three dimensions.

One stage and no anchors: peaks on a coarse grid of cells, with the box of the object at each (see
`isocenter.tasks.peaks`; Zhou et al. 2019, Tian et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from isocenter.augment import SpatialMap
from isocenter.errors import PlanError
from isocenter.metrics import Measure, match_boxes, measure_detections
from isocenter.networks import HeadSpec
from isocenter.plan import TaskSpec
from isocenter.records import Boxes, Case, LabelSchema, Prediction
from isocenter.tasks.boxes import clip_boxes, drop_fragments, instance_boxes, map_boxes, nms
from isocenter.tasks.contract import Calibration, Decoded, Placement, Slab, Targets, task
from isocenter.tasks.objects import Objects, find_objects
from isocenter.tasks.options import TaskOptions, read_options
from isocenter.tasks.peaks import box_losses, decode_boxes, draw_peaks, focal_loss, read_peaks, strides_of
from isocenter.tasks.reducers import PassReducer
from isocenter.volume import Grid

__all__ = ["BOX_HEAD", "HEAT_HEAD", "Detection", "DetectionOptions"]

HEAT_HEAD = "heat"
BOX_HEAD = "box"


class DetectionOptions(TaskOptions):
    """Options of the task.

    Attributes:
        stride: Voxels a cell in the plane; along slices the network's own.
        box_weight: Of the boxes in the loss, against the peaks.
        min_visible: Least share of an object that a patch must hold for it to be learned from.
        min_score: Lowest score that is given out.
        max_objects: Most objects in one window.
        max_overlap: IoU above which the lower-scored of two boxes of a class is a double; as ``min_iou`` where it is
            not given.
        threshold: Score from which an object counts in the figures of single cases.
        min_iou: IoU with a true box that makes a hit. Where it is not given, 0.1 in three dimensions, where a small
            shift costs much overlap (as nnDetection does, Baumgartner et al. 2021), and 0.5 in one slice.
    """

    stride: int = Field(default=4, ge=1)
    box_weight: float = Field(default=1.0, ge=0)
    min_visible: float = Field(default=0.25, ge=0, le=1)
    min_score: float = Field(default=0.05, ge=0, le=1)
    max_objects: int = Field(default=100, ge=1)
    max_overlap: float | None = Field(default=None, ge=0, le=1)
    threshold: float = Field(default=0.3, ge=0, le=1)
    min_iou: float | None = Field(default=None, gt=0, le=1)

    def hit(self, shape: tuple[int, int, int]) -> float:
        """``min_iou`` for images of ``shape``."""
        return self.min_iou if self.min_iou is not None else 0.1 if shape[0] > 1 else 0.5


@task("detection")
class Detection:
    """See `isocenter.tasks.contract.Task`; the truth is boxes, or the connected parts of label maps or masks.

    Args:
        spec: ``structures``, the kinds of objects; options as in `DetectionOptions`.
        reference: Image on whose grid the result is given.

    Raises:
        PlanError: No structures, or an option that is not known.
    """

    def __init__(self, spec: TaskSpec, reference: str) -> None:
        if not spec.structures:
            raise PlanError("task.structures: a detection needs at least one kind of object")
        self.spec = spec
        self.reference = reference
        self.schema: LabelSchema = spec.schema_
        self.options = read_options(DetectionOptions, spec)

    @property
    def threshold(self) -> float:
        """Score from which a result shows an object."""
        return self.options.threshold

    def heads(self) -> Mapping[str, HeadSpec]:
        """A peak map a class, low at first because objects are rare, and six numbers of the box."""
        stride = self.options.stride
        return {
            HEAT_HEAD: HeadSpec("strided", len(self.schema), stride=stride, bias=-4.0),
            BOX_HEAD: HeadSpec("strided", 6, stride=stride),
        }

    def encode(self, case: Case, grids: Mapping[str, Grid]) -> Targets:
        """``boxes`` ``(n, 6)`` in voxel edges, ``classes`` ``(n,)``, ``size`` ``(3,)`` of the grid.

        Where masks of the objects are known also ``instances`` ``(k, D, H, W)``, numbers from 1, and their ``voxels``
        ``(n,)``.
        """
        grid = grids[self.reference]
        found = self.truth(case).on(grid)
        targets = {
            "boxes": torch.from_numpy(found.corners.astype(np.float32)),
            "classes": torch.from_numpy(found.classes),
            "size": torch.tensor(grid.shape),
        }
        if found.instances is not None:
            targets["instances"] = torch.from_numpy(np.ascontiguousarray(found.instances))
            targets["voxels"] = torch.from_numpy(instance_boxes(found.instances, len(found.corners))[1])
        return targets

    def truth(self, case: Case) -> Objects:
        """Objects of a case, on the grid they were drawn on; see `isocenter.tasks.objects.find_objects`."""
        return find_objects(case, self.schema, name=self.spec.annotation, reference=self.reference)

    def warp(self, targets: Targets, spatial_map: SpatialMap) -> Targets:
        """Boxes of a patch, clipped; objects of which it holds less than ``min_visible`` are left out.

        Boxes come from the moved masks where there are any: those around turned boxes would be too large.
        """
        moved = spatial_map.corners(targets["boxes"].numpy().astype(np.float64))
        corners, visible = clip_boxes(moved, spatial_map.shape)
        if "instances" in targets:
            numbers = spatial_map.sample(targets["instances"], "nearest", outside=0)
            tight, inside = instance_boxes(numbers.numpy(), len(corners))
            whole = targets["voxels"].numpy() / abs(np.linalg.det(spatial_map.matrix[:3, :3]))
            masked = whole >= 8  # an object of fewer voxels may fall between those of the patch: its box tells more
            corners = np.where(masked[:, None], tight, corners)
            visible = np.where(masked, inside / np.maximum(whole, 1), visible)
        keep = (visible >= self.options.min_visible) & (corners[:, 3:] > corners[:, :3]).all(axis=1)
        classes = targets["classes"].numpy()[keep]
        if spatial_map.mirrored:
            classes = np.asarray(self.schema.mirror_order, dtype=np.int64)[classes]
        return {
            "boxes": torch.from_numpy(corners[keep].astype(np.float32)),
            "classes": torch.from_numpy(classes),
            "size": torch.tensor(spatial_map.shape),
        }

    def collate(self, targets: Sequence[Targets]) -> Targets:
        """``boxes`` ``(batch, n, 6)``, ``classes`` ``(batch, n)``, filled up with boxes of class -1; one ``size``."""
        most = max(1, *(len(t["classes"]) for t in targets))
        boxes = torch.zeros(len(targets), most, 6)
        classes = torch.full((len(targets), most), -1)
        for k, t in enumerate(targets):
            boxes[k, : len(t["boxes"])] = t["boxes"]
            classes[k, : len(t["classes"])] = t["classes"]
        return {"boxes": boxes, "classes": classes, "size": targets[0]["size"]}

    def sites(self, targets: Targets) -> Mapping[str, NDArray[np.int32]]:
        """Middles of the boxes of each class."""
        boxes, classes = targets["boxes"].numpy(), targets["classes"].numpy()
        middles = np.clip(np.round((boxes[:, :3] + boxes[:, 3:]) / 2), 0, targets["size"].numpy() - 1).astype(np.int32)
        return {name: middles[classes == k] for k, name in enumerate(self.schema.names) if (classes == k).any()}

    def loss(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """``heat`` and ``box``; the score is the mean probability at the true middles.

        The peaks' loss is divided by the number of objects in the batch. Without any, the score is 1 less the highest
        probability.
        """
        logits, code = outputs[HEAT_HEAD].float(), outputs[BOX_HEAD].float()
        cells = logits.shape[2:]
        heat, weight, wanted = draw_peaks(
            targets["boxes"], targets["classes"],
            count=len(self.schema), cells=cells, strides=strides_of(targets["size"].tolist(), cells),
        )  # fmt: skip
        objects = (targets["classes"] >= 0).sum()
        share, peak = logits.detach().sigmoid(), heat == 1
        score = share[peak].mean() if bool(peak.any()) else 1 - share.max()
        return {
            "heat": focal_loss(logits, heat) / objects.clamp_min(1),
            "box": box_losses(code, wanted, weight) * self.options.box_weight,
            "score": score,
        }

    def reducer(self) -> PassReducer:
        """Windows as they are: objects are merged, not voxels."""
        return PassReducer()

    def decode(self, slabs: Iterator[Slab], placement: Placement, calibration: Calibration | None = None) -> Decoded:
        """Peaks of every window; fragments and doubles go; the rest on the target grid, best first."""
        found = [self._window(slab, placement.working.shape, calibration or Calibration()) for slab in slabs]
        corners, scores, classes, cut = (np.concatenate(part) for part in zip(*found, strict=True))
        whole = drop_fragments(corners, classes, cut)
        corners, scores, classes = corners[whole], scores[whole], classes[whole]
        overlap = self.options.max_overlap
        best = nms(corners, scores, classes, self.options.hit(placement.target.shape) if overlap is None else overlap)
        placed = map_boxes(corners[best], placement.working, placement.target)
        clipped, left = clip_boxes(placed, placement.target.shape)
        inside = left > 0
        boxes = Boxes(
            image=self.reference,
            source="model",
            schema=self.schema,
            corners=clipped[inside],
            classes=classes[best][inside],
            scores=scores[best][inside],
        )
        return Decoded((boxes,))

    def _window(
        self, slab: Slab, shape: tuple[int, int, int], calibration: Calibration
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
        """Boxes on the working grid, scores, classes, and whether the window's border cuts the box off."""
        start, size = slab.outputs["window"].numpy()
        code = slab.outputs[BOX_HEAD].float()
        strides = strides_of(size.tolist(), code.shape[1:])
        heat = (slab.outputs[HEAT_HEAD].float() / calibration.temperature).sigmoid()
        boxes, scores, classes = read_peaks(
            heat, decode_boxes(code, strides), least=self.options.min_score, limit=self.options.max_objects
        )
        corners = boxes.double().numpy().reshape(-1, 6) + np.tile(start, 2)
        # half a cell: boxes are not told more exactly than that
        near, far = start - 0.5 + np.array(strides) / 2, start + size - 0.5 - np.array(strides) / 2
        cut = ((corners[:, :3] < near) & (start > 0)) | ((corners[:, 3:] > far) & (start + size < shape))
        return corners, scores.double().numpy(), classes.numpy(), cut.any(axis=1)

    def measure(self, prediction: Prediction, case: Case) -> list[Measure]:
        """Hits, misses and false positives of every class, on the reference image's grid."""
        grid = case.image(self.reference).grid()
        truth = self.truth(case).on(grid)
        (found,) = [a for a in prediction.annotations if isinstance(a, Boxes)]
        scores = np.ones(len(found.corners)) if found.scores is None else found.scores
        measures = []
        for k, name in enumerate(self.schema.names):
            own, real = found.classes == k, truth.corners[truth.classes == k]
            matches = match_boxes(found.corners[own], scores[own], real, min_iou=self.options.hit(grid.shape))
            measure = measure_detections(
                matches, case=case.id, patient=case.patient, name=name, threshold=self.options.threshold
            )
            measures.append(measure)
        return measures
