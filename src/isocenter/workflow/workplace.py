"""``<out>.fit``: what a fit keeps while it runs, so that it can go on after any interruption."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isocenter.io.files import read_json, write_json
from isocenter.plan import Plan, read_plan, write_plan

__all__ = ["Workplace"]


@dataclass(frozen=True)
class Workplace:
    """Folder beside the model to be.

    Attributes:
        root: Holds ``plan.yaml`` and ``allowance.json`` (seconds that the steps may take, where there is a budget);
            checkpoints and TensorBoard files of a single fit, or a folder ``fold_<k>`` for each fold.
    """

    root: Path

    @classmethod
    def of(cls, model: Path) -> Workplace:
        """Of the model folder to be."""
        return cls(model.with_name(f"{model.name}.fit"))

    def fold(self, number: int) -> Workplace:
        """Of one fold."""
        return Workplace(self.root / f"fold_{number}")

    @property
    def cache(self) -> Path:
        """Folder of prepared cases, where no other was named."""
        return self.root / "cache"

    @property
    def tensorboard(self) -> Path:
        """Folder of the training curves."""
        return self.root / "tensorboard"

    def keep(self, plan: Plan, seconds: float | None) -> None:
        """Freeze what a resumed fit must not decide again."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.root / "allowance.json", {"seconds": seconds})
        write_plan(plan, self.root / "plan.yaml")  # last: it says that both are there

    def kept(self) -> tuple[Plan, float | None] | None:
        """What `keep` wrote, or ``None``."""
        if not (self.root / "plan.yaml").exists():
            return None
        seconds = read_json(self.root / "allowance.json")["seconds"]
        return read_plan(self.root / "plan.yaml"), seconds

    @contextmanager
    def cleared_unless_of_use(self, learned: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Where the block fails before anything was learned, nothing is left behind.

        Args:
            learned: Whether something is of use beside checkpoints.
        """
        from isocenter.training import CHECKPOINT

        try:
            yield
        except BaseException:
            if not any(self.root.rglob(CHECKPOINT)) and not learned():
                self.clear()
            raise

    def begin_anew(self) -> None:
        """Remove what an earlier fit of that name left, but for cases that it prepared: those are known by content."""
        for path in self.root.iterdir() if self.root.is_dir() else ():
            if path.is_dir() and path != self.cache:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)
