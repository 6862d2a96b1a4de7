"""Two schemas, random logits with blobs as labels, and one loss of a task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from isocenter.plan import TaskSpec
from isocenter.records import LabelSchema
from isocenter.tasks import Segmentation

PAIR, REGIONS = LabelSchema.of({"a": 1, "b": 2}), LabelSchema.of({"a": 1, "b": 2}, exclusive=False)
SCHEMAS = pytest.mark.parametrize("schema", [PAIR, REGIONS], ids=["exclusive", "regions"])
NAMES = ("boundary", "cldice", "cross-entropy", "dice", "focal", "generalised-dice", "top-k", "tversky")


def task_of(schema: LabelSchema = PAIR, **options) -> Segmentation:
    spec = TaskSpec(
        structures=TaskSpec.structures_of(schema), exclusive=schema.exclusive, options={"levels": 1, **options}
    )
    return Segmentation(spec, "ct")


def draw(schema: LabelSchema, shape=(4, 9, 8), batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits, and blobs as labels."""
    rng = np.random.default_rng(seed)
    channels = 2 + schema.exclusive
    logits = torch.from_numpy(rng.normal(size=(batch, channels, *shape))).float()
    blobs = ndimage.gaussian_filter(rng.normal(size=(2, batch, *shape)), (0, 0, *[1.5 if n > 1 else 0 for n in shape]))
    if schema.exclusive:
        labels = np.where(blobs[0] > 0.05, 1, np.where(blobs[1] > 0.05, 2, 0))[:, None]
    else:
        labels = (blobs > 0.05).astype(int).swapaxes(0, 1)
    return logits, torch.from_numpy(labels).to(torch.uint8)


def value(task: Segmentation, logits: torch.Tensor, labels: torch.Tensor, name: str) -> torch.Tensor:
    targets = task.collate([{"labels": each} for each in labels])
    return task.loss({"segmentation": logits}, targets)[name]


def right(labels: torch.Tensor, schema: LabelSchema, scale: float = 12.0) -> torch.Tensor:
    if schema.exclusive:
        hot = torch.nn.functional.one_hot(labels[:, 0].long().clamp_max(2), 3).movedim(-1, 1)
    else:
        hot = labels.long().clamp_max(1)
    return scale * (2 * hot - 1).float()
