"""From what a reader gave, and what was written down before, to one word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from _dicom.entry import Input
from _dicom.running import Answer
from _dicom.scoring import RIGHT, Score, interpolated, score, value_score
from _dicom.truth import Frame

__all__ = ["Verdict", "interpolation_errors", "judge", "judge_ours"]


@dataclass(frozen=True)
class Verdict:
    """How one reader did on one input.

    Attributes:
        outcome: ``right``; ``right, and more`` (beside it, slices that no header states); ``refused``; ``in part`` (an
            error for the rest, and nothing wrong); ``silently wrong`` (less than 99.9 % right, and no error);
            ``crashed``.
        right: Share of samples that are right, 0 to 1.
        good: As written down before the run; only asked of Isocenter.
        note: What was wrong.
    """

    outcome: str
    right: float
    good: bool = False
    note: str = ""


def judge(one: Input, frames: Sequence[Frame], answer: Answer) -> Verdict:
    """Any reader on an input whose headers state places."""
    if not answer.volumes:
        return Verdict("crashed" if answer.crashed else "refused", 0.0, note="; ".join(answer.crashed)[-200:])
    found = score(frames, answer.volumes, codec_step=one.codec_step)
    return Verdict(_outcome(found, answer), found.right)


def _outcome(found: Score, answer: Answer) -> str:
    if found.right >= RIGHT:
        return "right, and more" if found.unstated > 0 else "right"
    return "in part" if answer.refused and found.unstated == 0 else "silently wrong"


def judge_ours(one: Input, frames: Sequence[Frame], answer: Answer) -> Verdict:
    """Isocenter, which has both volumes and stacks, and is held to the lists."""
    told = "; ".join(f"{kind} {','.join(codes)}: {text}" for kind, codes, text in answer.refused)
    if answer.crashed:
        return Verdict("crashed", 0.0, note="; ".join(answer.crashed))
    if not one.read:
        return _must_refuse(one, frames, answer, told)
    if one.kind == "values":
        found = value_score(frames, [s.array for s in answer.sheets])
        return Verdict(_outcome(found, answer) if answer.sheets else "refused", found.right, found.right >= RIGHT, told)
    stacks = score(frames, answer.sheets, codec_step=one.codec_step)
    volumes = score(frames, answer.volumes, codec_step=one.codec_step)
    notes = [told] if told else []
    silent = [a for a in one.aside if not any(Path(file).name == a for file, _ in answer.aside)]
    if silent:
        notes.append(f"left out without a word: {silent}")
    if one.kind == "stack":
        wrong = bool(answer.volumes) and volumes.unstated > 0
        good = stacks.right >= RIGHT and _named(one, answer) and not wrong
        return Verdict("silently wrong" if wrong else _outcome(stacks, answer), stacks.right, good, "; ".join(notes))
    if stacks.right < RIGHT <= volumes.right:
        notes.append(f"stacks are right in {stacks.right:.4f}")
    if volumes.right < RIGHT:
        notes.append(f"{volumes.unstated} of {volumes.given} slices given are not as stated; stacks {stacks.right:.4f}")
    good = min(volumes.right, stacks.right) >= RIGHT and not silent and volumes.unstated == 0
    outcome = _outcome(volumes, answer) if answer.volumes else "refused"
    return Verdict(outcome, volumes.right, good, "; ".join(notes))


def _named(one: Input, answer: Answer) -> bool:
    """Whether the error that was written down was raised, with the code of its problem."""
    return any(
        set(codes) & set(one.codes) and (kind in one.errors or "ignored" in codes) for kind, codes, _ in answer.refused
    ) or any(code in reason for code in one.codes for _, reason in answer.aside)


def _must_refuse(one: Input, frames: Sequence[Frame], answer: Answer, told: str) -> Verdict:
    found = score(frames, answer.volumes) if frames and frames[0].position is not None else Score(0.0, 0, 0)
    wrong = found.unstated > 0 or (not frames and bool(answer.volumes))
    if wrong or (answer.volumes and not answer.refused):
        return Verdict("silently wrong", found.right, False, f"{found.unstated} slices not as stated; {told}")
    asides = "; ".join(reason for _, reason in answer.aside)
    return Verdict("in part" if answer.volumes else "refused", found.right, _named(one, answer), f"{told} {asides}")


def interpolation_errors(
    frames: Sequence[Frame], answer: Answer, *, samples: int = 20000
) -> tuple[float, float] | None:
    """Of resampled volumes: root mean square and largest difference from linear interpolation between the slices.

    In units of the values. Voxels outside the slices are left out; of several volumes the largest counts.
    """
    kinds = Counter(f.kind for f in frames)
    groups = [[f for f in frames if f.kind == kind] for kind, count in kinds.items() if count > 1]
    errors = []
    for volume in answer.resampled:
        rng = np.random.default_rng(0)
        index = np.stack([rng.integers(0, n, samples) for n in volume.array.shape], axis=1)
        place, values = index @ volume.affine[:3, :3].T + volume.affine[:3, 3], volume.array[tuple(index.T)]
        of_groups = [(values - interpolated(group, place)) for group in groups]
        found = [error[np.isfinite(error)] for error in of_groups]
        errors.append(min((e for e in found if len(e)), key=lambda e: float((e**2).mean()), default=np.zeros(0)))
    if not errors or not sum(map(len, errors)):
        return None
    every = np.concatenate(errors)
    return float(np.sqrt((every**2).mean())), float(np.abs(every).max())
