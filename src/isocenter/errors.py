"""The error tree: every refusal a user can meet.

A message says what is wrong, where, the value found, and what to do about it. The command line prints it as one line
and exits with code 2; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "CacheError",
    "ConfigError",
    "ContractError",
    "DatasetError",
    "FileFormatError",
    "GeometryError",
    "IsocenterError",
    "LabelError",
    "MissingExtraError",
    "ModelIntegrityError",
    "PlanError",
    "SeriesError",
    "SplitError",
    "StoppedError",
    "ValueRangeError",
]


class IsocenterError(Exception):
    """Base of every error that a user can cause and mend.

    Attributes:
        exit_code: Of the command line.
    """

    exit_code = 2


class GeometryError(IsocenterError):
    """Positions, spacings or orientations that do not fit together."""


class FileFormatError(IsocenterError):
    """A file that is damaged, truncated, or not of the kind it says."""


class SeriesError(IsocenterError):
    """A DICOM series that cannot be read as one regular volume."""


class ValueRangeError(IsocenterError):
    """Voxel values that cannot be used: NaN, infinite, constant."""


class LabelError(IsocenterError):
    """Label values or structures that the schema does not declare."""


class DatasetError(IsocenterError):
    """A dataset folder or table that cannot be used as one."""


class SplitError(DatasetError):
    """Splits that overlap, are empty, or share a patient."""


class PlanError(IsocenterError):
    """A plan with an unknown key, a wrong value, or parts that do not fit each other."""


class ContractError(IsocenterError):
    """A plug-in that does not keep its contract."""


class ModelIntegrityError(IsocenterError):
    """A model folder whose files are missing or do not match their hashes."""


class CacheError(IsocenterError):
    """The cache of prepared cases cannot be written or read."""


class ConfigError(IsocenterError):
    """A wrong argument on the command line or to a verb."""


class MissingExtraError(IsocenterError):
    """An optional part that is not installed; the message names the install line."""


class StoppedError(IsocenterError):
    """Work that was stopped on request (Ctrl-C, SIGTERM); the message says what is kept and how to go on."""

    exit_code = 130
