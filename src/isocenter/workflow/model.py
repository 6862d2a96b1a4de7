"""A model that a person can use: `load`, then `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.pipeline import Model
from isocenter.records import Case

if TYPE_CHECKING:
    from isocenter.workflow.predicting import Result

__all__ = ["TrainedModel", "load"]


class TrainedModel(Model):
    """`isocenter.pipeline.Model` with the verbs on it.

    Attributes:
        folder: Where it was read from or saved to.
    """

    folder: Path | None = None

    def predict(self, study: Case | str | Path | dict[str, str | Path], **options: Any) -> Result:
        """Predict one study; see `isocenter.predict`.

        Example:
            .. code-block:: python

                iso.load("model").predict("studies/case_001").save("result")
        """
        from isocenter.workflow.predicting import predict

        return predict(self, study, **options)


def load(folder: str | Path) -> TrainedModel:
    """Read a model folder; every file is checked against its hash.

    Raises:
        ModelIntegrityError: No model, or one that was changed or damaged.
    """
    model = TrainedModel.load(folder)
    model.folder = Path(folder)
    return model
