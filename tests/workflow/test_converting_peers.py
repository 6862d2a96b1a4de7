"""The same files through dcm2niix: where both convert, voxels, places, weightings and directions are the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from tests.workflow.test_converting import OBLIQUE, times

from isocenter.workflow.converting import convert

pytestmark = pytest.mark.peers


@pytest.fixture
def dcm2niix(tmp_path: Path) -> Callable[[Path], Path]:
    beside = Path(sys.executable).with_name("dcm2niix")
    tool = str(beside) if beside.exists() else shutil.which("dcm2niix")
    if tool is None:
        reason = "dcm2niix is not installed (pip install dcm2niix)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    def run(folder: Path) -> Path:
        out = tmp_path / "dcm2niix"
        out.mkdir()
        words = [tool, "-z", "n", "-f", "x", "-o", str(out), str(folder)]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        return out / "x.nii"

    return run


def siemens(t: int, _: int, ds: Dataset) -> None:
    weights, turns = [0, 1000, 1000, 700], [None, (0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (-0.48, 0.6, 0.64)]
    ds.Manufacturer, ds.ScanningSequence, ds.AcquisitionNumber = "SIEMENS", "EP", t + 1
    ds.SequenceName, ds.AcquisitionTime = f"*ep_b{weights[t]}#{t}", f"1200{5 * t:02d}"
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", str(weights[t]))
    if turns[t]:
        block.add_new(0x0E, "FD", list(turns[t]))


@pytest.mark.parametrize(("across", "down"), [((1, 0, 0), (0, 1, 0)), OBLIQUE])
def test_diffusion(
    tmp_path: Path, dcm2niix: Callable[[Path], Path], across: Sequence[float], down: Sequence[float]
) -> None:
    times(tmp_path / "in", 4, siemens, across=across, down=down, shape=(8, 8))
    done = convert(tmp_path / "in", out=tmp_path / "out")
    own, peer = nib.load(tmp_path / "out" / done.images[0].files[0]), dcm2niix(tmp_path / "in")
    expected = nib.load(peer)
    np.testing.assert_allclose(own.affine, expected.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(own.dataobj), np.asarray(expected.dataobj))
    for suffix in (".bval", ".bvec"):
        mine = np.loadtxt(tmp_path / "out" / done.images[0].files[0].replace(".nii.gz", suffix))
        np.testing.assert_allclose(mine, np.loadtxt(peer.with_suffix(suffix)), atol=1e-4)
