"""Data sets to de-identify, written and read again so that they are as pydicom gives them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

from isocenter.io.dicom.deidentify import DeidentifyOptions, Secret
from isocenter.io.dicom.deidentify.actions import Cleaner
from isocenter.io.dicom.deidentify.residue import Identifiers

KEY = b"the key of these tests"
Clean = Callable[..., Cleaner]


@pytest.fixture(scope="session")
def reread() -> Callable[[Dataset], Dataset]:
    """A data set as it is after having been in a file."""

    def through(dataset: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Dataset:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2")
        meta.MediaStorageSOPInstanceUID = "1.2.3"
        meta.TransferSyntaxUID = syntax
        dataset.file_meta = meta
        buffer = BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        buffer.seek(0)
        return dcmread(buffer)

    return through


@pytest.fixture(scope="session")
def cleaned() -> Clean:
    """De-identify a data set in place; the cleaner has the counts."""

    def clean(
        dataset: Dataset, sop_class: str = "1.2.840.10008.5.1.4.1.1.2", days: int = -100, **options: Any
    ) -> Cleaner:
        chosen = DeidentifyOptions(**options)
        who = Identifiers.of(dataset)
        cleaner = Cleaner(chosen, Secret(KEY), "PSEUDONYM", days, who, sop_class)
        cleaner.clean(dataset)
        return cleaner

    return clean
