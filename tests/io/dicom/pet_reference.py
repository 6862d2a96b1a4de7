"""A PET series of known SUV: a reference object of our own, made as a scanner would make it.

The truth is a phantom of known SUVbw. Its activity decays from the injection on, every bed position measures the mean
activity over its frame (integrated numerically), and decay is then corrected to the moment that the header states. So
nothing here divides by the formula that is under test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from scipy.integrate import quad
from scipy.optimize import brentq

PET = "1.2.840.10008.5.1.4.1.1.128"
SHAPE = (12, 24, 20)
SPHERES = (((3, 7, 6), 2.5, 8.0), ((8, 15, 13), 3.0, 3.7), ((6, 6, 14), 2.0, 0.5))
"""Centre in voxels, radius, SUV; the rest of the body is 1, outside is 0."""


def phantom() -> np.ndarray:
    """True SUV of every voxel, ``(slice, row, column)``."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    suv = np.where((y - 11.5) ** 2 / 110 + (x - 9.5) ** 2 / 80 < 1, 1.0, 0.0)
    for (cz, cy, cx), radius, value in SPHERES:
        suv[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = value
    return suv


@dataclass
class PetReference:
    """How it is scanned and written; `edit` makes slices of it."""

    units: str = "BQML"
    correction: str = "START"
    weight_kg: float = 72.5
    dose_bq: float = 3.513e8
    half_life_s: float = 6586.2
    given: datetime = datetime(2020, 3, 1, 10, 2, 30)
    start: datetime = datetime(2020, 3, 1, 11, 4, 10)
    slices_of_bed: int = 4
    frame_s: float = 150.0
    between_s: float = 8.0
    counts_per_bqml: float = 0.37
    change: Callable[[int, Dataset], Any] = lambda z, ds: None
    truth: np.ndarray = field(default_factory=phantom)

    def activity(self, moment_s: float) -> float:
        """Bq/ml where SUV is 1, so many seconds after the injection."""
        return self.dose_bq * 0.5 ** (moment_s / self.half_life_s) / (1000 * self.weight_kg)

    def bed(self, z: int) -> tuple[float, float]:
        """Seconds from the injection to the start and to the end of the frame of slice ``z``."""
        begin = (self.start - self.given).total_seconds() + z // self.slices_of_bed * (self.frame_s + self.between_s)
        return begin, begin + self.frame_s

    def measured(self, z: int) -> float:
        """Mean activity over the frame, where SUV is 1."""
        begin, end = self.bed(z)
        return quad(self.activity, begin, end, epsrel=1e-10)[0] / (end - begin)

    def image(self, z: int) -> np.ndarray:
        """What the scanner writes, in `units`."""
        scan = (self.start - self.given).total_seconds()
        moment = {"START": scan, "ADMIN": 0.0}.get(self.correction)
        decay = 1.0 if moment is None else self.activity(moment) / self.measured(z)
        bqml = self.truth[z] * self.measured(z) * decay
        return {"BQML": bqml, "CNTS": bqml * self.counts_per_bqml, "GML": self.truth[z]}[self.units]

    def average_ms(self, z: int) -> float:
        """Frame Reference Time: from the start of the scan to the average count rate of the frame."""
        begin, end = self.bed(z)
        scan = (self.start - self.given).total_seconds()
        return 1000 * (brentq(lambda t: self.activity(t) - self.measured(z), begin, end, xtol=1e-9) - scan)

    def edit(self, z: int, ds: Dataset) -> None:
        """Turn a CT slice of the fixtures into slice ``z`` of this scan."""
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = PET
        ds.Modality, ds.Units, ds.DecayCorrection = "PT", self.units, self.correction
        ds.CorrectedImage = ["ATTN", "SCAT", "NORM"] + (["DECY"] if self.correction != "NONE" else [])
        ds.PatientWeight = f"{self.weight_kg:g}"
        del ds.RescaleType, ds.KVP
        begin = self.given + timedelta(seconds=self.bed(z)[0])
        ds.SeriesDate, ds.SeriesTime = f"{self.start:%Y%m%d}", f"{self.start:%H%M%S.%f}"
        ds.AcquisitionDate, ds.AcquisitionTime = f"{begin:%Y%m%d}", f"{begin:%H%M%S.%f}"
        ds.ActualFrameDuration, ds.FrameReferenceTime = str(int(self.frame_s * 1000)), f"{self.average_ms(z):.3f}"
        agent = Dataset()
        agent.RadionuclideTotalDose, agent.RadionuclideHalfLife = f"{self.dose_bq:.10g}", f"{self.half_life_s:g}"
        agent.RadiopharmaceuticalStartTime = f"{self.given:%H%M%S}"
        ds.RadiopharmaceuticalInformationSequence = Sequence([agent])
        self.write_pixels(z, ds)
        self.change(z, ds)

    def write_pixels(self, z: int, ds: Dataset) -> None:
        """With a slope of its own for every slice, as PET scanners do."""
        image = self.image(z)
        ds.RescaleSlope, ds.RescaleIntercept = f"{image.max() / 32000:.10g}", "0"
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 1
        ds.PixelData = np.rint(image / float(ds.RescaleSlope)).astype("<i2").tobytes()
