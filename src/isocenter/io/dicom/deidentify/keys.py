"""The secret that all replacement values are derived from, and the derivation: HMAC-SHA256 (RFC 2104)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from isocenter.errors import ConfigError
from isocenter.io.dicom.deidentify.uids import uid_of

__all__ = ["Secret", "new_secret_file", "read_secret"]

_LENGTH = 32
_LEAST = 16
MAX_DAYS = 3650
"""Furthest that dates are shifted by themselves."""


class Secret:
    """Derives what stands for an identifier: the same for the same key, and not to be traced back without it.

    Args:
        key: At least 16 bytes.

    Example:
        >>> secret = Secret(b"only for this example")
        >>> secret.patient("4711"), secret.patient("4712")
        ('P3ODXC2LKQGW5', 'PGJ5MQB7XD5S2')
        >>> secret.uid("1.2.3")
        '2.25.34847433548078537875095333505435445108'
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _LEAST:
            raise ConfigError(f"the key has {len(key)} bytes; at least {_LEAST} are needed")
        self._key = key

    @classmethod
    def random(cls) -> Secret:
        """A secret that nobody knows afterwards."""
        return cls(secrets.token_bytes(_LENGTH))

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).digest()

    def uid(self, uid: str) -> str:
        """New UID for an old one, derived from a UUID: 44 characters at most."""
        return uid_of(self._digest("uid", uid))

    def patient(self, patient: str) -> str:
        """Pseudonym of a patient: P and 12 letters and digits."""
        return "P" + self._name("patient", patient, 12)

    def station(self, title: str) -> str:
        """Application entity title that stands for another one."""
        return "AE" + self._name("station", title, 10)

    def days(self, patient: str) -> int:
        """Days that the dates of a patient are shifted by: -3650 to -1."""
        return -1 - int.from_bytes(self._digest("days", patient)[:8], "big") % MAX_DAYS

    def _name(self, kind: str, value: str, letters: int) -> str:
        return base64.b32encode(self._digest(kind, value)).decode("ascii")[:letters]


def read_secret(path: str | Path) -> Secret:
    """The secret that a file holds: its bytes as they are.

    Raises:
        ConfigError: It cannot be read or is too short.
    """
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as a key ({error.strerror}); check the path") from error
    if len(key) < _LEAST:
        raise ConfigError(f"{path}: holds {len(key)} bytes, a key needs at least {_LEAST}; give another file")
    return Secret(key)


def new_secret_file(path: str | Path) -> Secret:
    """Make a key file that only its owner can read.

    Raises:
        ConfigError: It exists already or cannot be written.
    """
    target = Path(path)
    key = secrets.token_hex(_LENGTH).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: no key can be written there ({error.strerror}); give another place") from error
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return Secret(key)
