"""A trained model and its folder.

On disk: ``model.safetensors`` (weights), ``plan.yaml``, ``card.md``, whatever the fit left (``splits.json``,
``metrics.json``), and ``manifest.json`` with the SHA-256 of each file and of itself, and the provenance. Nothing is
pickled. The weights of an ensemble lie in one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import nn

import isocenter
from isocenter.errors import ConfigError, ModelIntegrityError
from isocenter.io.files import atomic_folder
from isocenter.networks import Ensemble, build_network
from isocenter.pipeline.members import shared_plan
from isocenter.pipeline.pipeline import Pipeline
from isocenter.plan import Plan, dump_plan, parse_plan
from isocenter.records import Provenance
from isocenter.tasks import Calibration

__all__ = ["MANIFEST", "MODEL_FORMAT", "WEIGHTS", "Model"]

MODEL_FORMAT = 1
WEIGHTS = "model.safetensors"
PLAN = "plan.yaml"
CALIBRATION = "calibration.json"
MANIFEST = "manifest.json"
_OWN = (WEIGHTS, PLAN, CALIBRATION, MANIFEST)
_MAX_BYTES = 32 * 2**20  # of the text files of a model folder


@dataclass
class Model:
    """A plan with the weights that fulfil it.

    Attributes:
        plan: Every decision.
        network: In evaluation mode.
        calibration: Fitted on cases that trained nothing, where it was.
        manifest: Provenance and, once saved or loaded, file hashes.

    Example:
        >>> import tempfile
        >>> plan = Plan.model_validate({
        ...     "inputs": [{"name": "ct"}],
        ...     "preprocess": {"reference": "ct"},
        ...     "task": {"structures": [{"name": "liver", "values": [1]}]},
        ...     "network": {"options": {"channels": [4, 8], "strides": [[1, 1, 1], [2, 2, 2]]}},
        ... })
        >>> network = build_network(plan.network, plan.inputs, Pipeline(plan).task.heads())
        >>> folder = Model(plan, network).save(Path(tempfile.mkdtemp()) / "liver")
        >>> sorted(file.name for file in folder.iterdir())
        ['manifest.json', 'model.safetensors', 'plan.yaml']
        >>> Model.load(folder).plan == plan
        True
    """

    plan: Plan
    network: nn.Module
    calibration: Calibration | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(self.plan)
        self.network.eval()

    @property
    def provenance(self) -> Provenance:
        """Name, version and digest that every result of this model carries."""
        digest = self.manifest.get("digest") or _digest(self.manifest)
        spec = self.plan.inference
        settings = {"overlap": str(spec.overlap), "precision": spec.precision}
        if spec.views:
            settings["views"] = str(len(spec.views))
        if spec.members > 1:
            settings["members"] = str(spec.members)
        return Provenance(self.plan.name, isocenter.__version__, digest, settings)

    def save(self, folder: str | Path, *, extra: Mapping[str, str] | None = None, overwrite: bool = False) -> Path:
        """Write the model folder, aside first and then renamed.

        Args:
            folder: New, or empty, unless ``overwrite``.
            extra: Further text files by name (``card.md``, ``splits.json`` ...), hashed like the rest.
            overwrite: Replace an existing folder.

        Raises:
            ConfigError: The folder is there and not empty, or a name in ``extra`` is no free plain file name.
        """
        from safetensors.torch import save

        for name in extra or {}:
            if not _is_plain(name) or name in _OWN:
                raise ConfigError(
                    f"model {folder}: {name!r} cannot be the name of a further file; give a plain new one"
                )
        state = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        files = {WEIGHTS: save(state), PLAN: dump_plan(self.plan).encode()}
        if self.calibration is not None:
            files[CALIBRATION] = json.dumps({"temperature": self.calibration.temperature}).encode()
        files |= {name: text.encode() for name, text in (extra or {}).items()}
        known = {k: v for k, v in self.manifest.items() if k not in ("files", "digest")}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
        manifest: dict[str, Any] = {
            "format": MODEL_FORMAT, "isocenter": isocenter.__version__, **known, "files": hashes
        }  # fmt: skip
        manifest["digest"] = _digest(manifest)
        with atomic_folder(Path(folder), overwrite=overwrite) as aside:
            for name, data in files.items():
                (aside / name).write_bytes(data)
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        self.manifest = manifest
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model folder; every file is checked against its hash before anything is used.

        Raises:
            ModelIntegrityError: No model, a missing or changed file, a format of another version, or weights that do
                not fit the plan.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        place = Path(folder)
        manifest = _read_manifest(place)
        files = {name: _checked(place, name, digest) for name, digest in manifest["files"].items()}
        for needed in (WEIGHTS, PLAN):
            if needed not in files:
                raise ModelIntegrityError(
                    f"model {place}: {MANIFEST} does not list {needed}; take the folder from its source again"
                )
        plan = parse_plan(files[PLAN].decode(), where=f"{place}/{PLAN}")
        # the random start is thrown away: leave the caller's generator as it was
        with torch.random.fork_rng(devices=[]):
            network = _unlearned(plan)
        try:
            network.load_state_dict(load(files[WEIGHTS]))
        except (SafetensorError, RuntimeError) as error:
            text = " ".join(str(error).split())[:300]
            raise ModelIntegrityError(f"model {place}: weights do not fit the plan's network ({text})") from None
        calibration = None
        if CALIBRATION in files:
            calibration = Calibration(**json.loads(files[CALIBRATION]))
        return cls(plan, network, calibration, manifest)

    @classmethod
    def of_members(cls, models: Sequence[Model]) -> Self:
        """One model whose outputs are the mean of those of several, e.g. of the folds of a cross-validation.

        Plan and name are those of the first, with the number of members; a calibration was fitted to one member and is
        left behind. The manifest keeps what is the same in all, and the digest of each under ``members``.

        Args:
            models: Their plans may differ in name, reasons, seed, steps and budget. Ensembles give their members.

        Raises:
            ConfigError: No model, or plans that differ in something else; the key is named.
        """
        if not models:
            raise ConfigError("an ensemble of no models; give at least one")
        first = models[0]
        if len(models) == 1:
            return cls(first.plan, first.network, first.calibration, first.manifest)
        networks = [n for m in models for n in (m.network if isinstance(m.network, Ensemble) else [m.network])]
        same = {k: v for k, v in first.manifest.items() if all(m.manifest.get(k) == v for m in models)}
        manifest = {k: v for k, v in same.items() if k not in ("files", "digest", "format")}
        manifest["members"] = [m.provenance.digest for m in models]
        plan = shared_plan([m.plan for m in models], members=len(networks))
        return cls(plan, Ensemble(networks), None, manifest)

    def text(self, folder: str | Path, name: str) -> str | None:
        """A further text file of a saved model, hash checked; ``None`` where the model has none of that name."""
        digest = self.manifest.get("files", {}).get(name)
        return _checked(Path(folder), name, digest).decode() if digest else None


def _unlearned(plan: Plan) -> nn.Module:
    """The plan's network, or as many as it has members, with random weights."""
    heads = Pipeline(plan).task.heads()
    networks = [build_network(plan.network, plan.inputs, heads) for _ in range(plan.inference.members)]
    return Ensemble(networks) if len(networks) > 1 else cast("nn.Module", networks[0])


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own digest."""
    rest = {k: v for k, v in manifest.items() if k != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _is_plain(name: str) -> bool:
    return name not in ("", "..") and Path(name).name == name


def _read_manifest(place: Path) -> dict[str, Any]:
    if not place.is_dir():
        raise ModelIntegrityError(f"model {place}: no such folder; `isocenter fit` makes one")
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        raise ModelIntegrityError(f"model {place}: has no readable {MANIFEST}; it is not a model folder") from None
    except (ValueError, RecursionError):
        raise ModelIntegrityError(
            f"model {place}: {MANIFEST} is damaged; take the folder from its source again"
        ) from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ModelIntegrityError(f"model {place}: {MANIFEST} lists no files; it is not a model folder")
    if manifest.get("format") != MODEL_FORMAT:
        found = manifest.get("format")
        raise ModelIntegrityError(
            f"model {place}: format {found!r}, this version reads {MODEL_FORMAT}; update isocenter"
        )
    if manifest.get("digest") != _digest(manifest):
        raise ModelIntegrityError(
            f"model {place}: {MANIFEST} was changed or damaged; take the folder from its source again"
        )
    return manifest


def _checked(place: Path, name: str, digest: str) -> bytes:
    file = place / name
    if not _is_plain(name):
        raise ModelIntegrityError(f"model {place}: {MANIFEST} names {name!r}, which is not a plain file name")
    try:
        if name != WEIGHTS and file.stat().st_size > _MAX_BYTES:
            raise ModelIntegrityError(f"model {place}: {name} is larger than {_MAX_BYTES} bytes")
        data = file.read_bytes()
    except OSError:
        raise ModelIntegrityError(f"model {place}: {name} is missing; take the folder from its source again") from None
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise ModelIntegrityError(
            f"model {place}: {name} was changed or damaged (SHA-256 {found[:12]}..., expected {str(digest)[:12]}...);"
            " take the folder from its source again"
        )
    return data
