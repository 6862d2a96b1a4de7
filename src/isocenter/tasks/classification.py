"""Classification: which answer to a question holds for a case; exactly one, or any number of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from isocenter.augment import SpatialMap
from isocenter.errors import LabelError, PlanError
from isocenter.metrics import Measure, measure_class
from isocenter.networks import HeadSpec
from isocenter.plan import TaskSpec
from isocenter.records import Case, ClassLabel, LabelSchema, Prediction
from isocenter.tasks.contract import Calibration, Decoded, Placement, Slab, Targets, task
from isocenter.tasks.options import TaskOptions, read_options
from isocenter.tasks.reducers import MeanReducer
from isocenter.volume import Grid

__all__ = ["CLASS_HEAD", "Classification", "ClassificationOptions"]

CLASS_HEAD = "classification"


class ClassificationOptions(TaskOptions):
    """Options of the task.

    Attributes:
        class_weights: Weight by class in the loss, 1 where a class is not named: of the cases of a class (exclusive),
            or of those in which it holds against those in which it does not.
        label_smoothing: Share of the truth that is spread over all answers (Szegedy et al. 2016).
    """

    class_weights: dict[str, float] = Field(default_factory=dict)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


@task("classification")
class Classification:
    """See `isocenter.tasks.contract.Task`; the truth is the case's `ClassLabel` whose name is ``spec.target``.

    Exclusive answers are learned by softmax cross-entropy, others each by its own binary cross-entropy. Logits of
    windows, views and members are averaged, weighted by their voxels.

    Args:
        spec: ``target``, ``classes`` and ``exclusive``; options as in `ClassificationOptions`.
        reference: Image on whose grid the working grid lies.

    Raises:
        PlanError: No question, too few or doubled answers, or an option that is not known.

    Example:
        >>> question = TaskSpec(name="classification", target="side", classes=("left", "right"))
        >>> Classification(question, "xray").heads()["classification"].channels
        2
    """

    def __init__(self, spec: TaskSpec, reference: str) -> None:
        if not spec.target:
            raise PlanError("task.target: a classification needs the name of its question")
        least = 2 if spec.exclusive else 1
        if len(spec.classes) < least or len(set(spec.classes)) != len(spec.classes):
            raise PlanError(f"task.classes: {list(spec.classes)}; needs at least {least} different answers")
        self.spec = spec
        self.reference = reference
        self.question: str = spec.target
        self.options = read_options(ClassificationOptions, spec)
        self._weights = self._class_weights()
        self._order = _mirror_order(spec.classes)

    def _class_weights(self) -> Tensor | None:
        given = self.options.class_weights
        for name, weight in given.items():
            if name not in self.spec.classes:
                known = ", ".join(self.spec.classes)
                raise PlanError(f"task.options.class_weights: {name!r} is not one of the classes ({known})")
            if not 0 < weight < float("inf"):
                raise PlanError(f"task.options.class_weights.{name}: {weight:g} is not a positive number")
        return torch.tensor([given.get(name, 1.0) for name in self.spec.classes]) if given else None

    def heads(self) -> Mapping[str, HeadSpec]:
        """One logit an answer."""
        return {CLASS_HEAD: HeadSpec("global", len(self.spec.classes))}

    def encode(self, case: Case, grids: Mapping[str, Grid]) -> Targets:
        """``answer``: number of the class, or ``(class,)`` float of 0 and 1 where several may hold."""
        held = self.truth(case)
        return {"answer": torch.tensor(int(held.argmax())) if self.spec.exclusive else torch.from_numpy(held).float()}

    def truth(self, case: Case) -> NDArray[np.bool_]:
        """Which classes hold, ``(class,)``.

        Raises:
            LabelError: The case has no answer, one that the plan does not know, or several to an exclusive question.
        """
        found = case.find(ClassLabel, name=self.question, image=self.reference)
        if found is None:
            raise LabelError(f"case {case.id}: has no class {self.question!r}; add it, or leave the case out")
        strangers = sorted(set(found.values) - set(self.spec.classes))
        if strangers:
            raise LabelError(
                f"case {case.id}: class {strangers[0]!r} of {self.question!r} is not declared"
                f" (declared: {', '.join(self.spec.classes)})"
            )
        if self.spec.exclusive and len(found.values) != 1:
            raise LabelError(
                f"case {case.id}: {len(found.values)} answers to the exclusive question {self.question!r};"
                " plan with task.exclusive=false"
            )
        return np.array([name in found.values for name in self.spec.classes])

    def warp(self, targets: Targets, spatial_map: SpatialMap) -> Targets:
        """A class of the case holds for each of its patches; left and right swap where the map mirrors."""
        if not spatial_map.mirrored:
            return targets
        order, answer = torch.tensor(self._order), targets["answer"]
        return {"answer": order[answer] if self.spec.exclusive else answer[order]}

    def collate(self, targets: Sequence[Targets]) -> Targets:
        """``answer``: ``(batch,)``, or ``(batch, class)``."""
        return {"answer": torch.stack([t["answer"] for t in targets])}

    def sites(self, targets: Targets) -> Mapping[str, NDArray[np.int32]]:
        """None: a class of the case has no place."""
        return {}

    def loss(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """``entropy``; the score is the share of right answers."""
        logits, answer = outputs[CLASS_HEAD].float(), targets["answer"]
        weights = None if self._weights is None else self._weights.to(logits.device)
        smooth = self.options.label_smoothing
        if self.spec.exclusive:
            entropy = functional.cross_entropy(logits, answer, weights, label_smoothing=smooth)
            right = logits.detach().argmax(1) == answer
        else:
            soft = answer * (1 - smooth) + smooth / 2
            entropy = functional.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights)
            right = (logits.detach() > 0) == (answer > 0.5)
        return {"entropy": entropy, "score": right.float().mean()}

    def reducer(self) -> MeanReducer:
        """Mean of the logits."""
        return MeanReducer(CLASS_HEAD)

    def decode(self, slabs: Iterator[Slab], placement: Placement, calibration: Calibration | None = None) -> Decoded:
        """One `ClassLabel` with the probability of every class; it concerns the case, not an image of it."""
        (slab,) = slabs
        logits = slab.outputs[CLASS_HEAD].double() / (calibration or Calibration()).temperature
        share = logits.softmax(0) if self.spec.exclusive else logits.sigmoid()
        held = [int(share.argmax())] if self.spec.exclusive else torch.nonzero(share >= 0.5).ravel().tolist()
        return Decoded(
            (
                ClassLabel(
                    name=self.question,
                    source="model",
                    classes=self.spec.classes,
                    values=tuple(self.spec.classes[k] for k in held),
                    exclusive=self.spec.exclusive,
                    probabilities=tuple(share.tolist()),
                ),
            )
        )

    def measure(self, prediction: Prediction, case: Case) -> list[Measure]:
        """One measure under the question's name; where several answers may hold, one a class under the class's name."""
        held = self.truth(case)
        (found,) = [a for a in prediction.annotations if isinstance(a, ClassLabel)]
        share = found.probabilities or ()
        if self.spec.exclusive:
            truth = int(held.argmax())
            return [measure_class(share, truth, case=case.id, patient=case.patient, name=self.question)]
        return [
            measure_class((1 - p, p), int(real), case=case.id, patient=case.patient, name=name)
            for p, real, name in zip(share, held, self.spec.classes, strict=True)
        ]


def _mirror_order(classes: Sequence[str]) -> tuple[int, ...]:
    """Position of each class's left/right partner (its own where it has none), by the rule for structures."""
    pairs = {s.name: s.mirror for s in LabelSchema.of({name: k for k, name in enumerate(classes, 1)}).structures}
    return tuple(classes.index(pairs.get(name) or name) for name in classes)
