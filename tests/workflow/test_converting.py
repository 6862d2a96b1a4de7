"""`convert`: every voxel at the place and with the value that the headers state, read back by nibabel."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from tests.io.conftest import CANARY, MR, Truth, write_series

from isocenter.errors import ConfigError, SeriesError
from isocenter.io.dicom import GeometryPolicy, write_seg
from isocenter.records import LabelSchema
from isocenter.volume import Grid, Volume
from isocenter.workflow.converting import Conversion, convert
from isocenter.workflow.filenames import safe

OBLIQUE = (np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, 0.8]))
RAS = np.diag([-1.0, -1.0, 1.0])


def mr(_: int, ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MR
    ds.Modality, ds.RescaleIntercept, ds.RescaleType, ds.KVP = "MR", 0, "US", None
    ds.ImageType, ds.MRAcquisitionType, ds.RepetitionTime, ds.EchoTime = ["ORIGINAL", "PRIMARY", "M"], "2D", 2500, 30.5
    ds.SeriesDescription, ds.ProtocolName, ds.ScanningSequence = "Ax T2* (fast)", "brain", "GR"


def times(folder: Path, count: int, edit: Any = None, **shape: Any) -> list[Truth]:
    """Volumes of one series over the same places; ``edit(t, z, dataset)``."""
    uids = [generate_uid() for _ in range(3)]

    def change(t: int, z: int, ds: Dataset) -> None:
        mr(z, ds)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
        ds.InstanceNumber = t * 6 + z + 1
        ds.PixelData = np.random.default_rng((t, z)).integers(0, 4096, (ds.Rows, ds.Columns), np.uint16).tobytes()
        if edit is not None:
            edit(t, z, ds)

    return [
        write_series(folder / f"t{t}", lambda z, ds, t=t: change(t, z, ds), **shape)  # type: ignore[misc]
        for t in range(count)
    ]


def check(image: Any, datasets: Sequence[Dataset], volume: int | None = None) -> None:
    """Every pixel of every dataset is found in the file at its place in RAS."""
    voxels = np.asarray(image.dataobj)
    voxels = voxels if volume is None else voxels[..., volume]
    back = np.linalg.inv(image.affine)
    for ds in datasets:
        row, column = np.meshgrid(np.arange(ds.Rows), np.arange(ds.Columns), indexing="ij")
        turn, (row_mm, column_mm) = np.array(ds.ImageOrientationPatient, float), (float(v) for v in ds.PixelSpacing)
        lps = np.array(ds.ImagePositionPatient, float) + row[..., None] * turn[3:] * row_mm
        lps = lps + column[..., None] * turn[:3] * column_mm
        place = (lps @ RAS) @ back[:3, :3].T + back[:3, 3]
        assert np.abs(place - np.rint(place)).max() < 1e-3
        found = voxels[tuple(np.moveaxis(np.rint(place).astype(int), -1, 0))]
        value = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_allclose(found, value, rtol=1e-6)


def load(out: Path, done: Conversion, number: int = 0) -> tuple[Any, dict[str, Any]]:
    nifti, beside = done.images[number].files[:2]
    return nib.load(out / nifti), json.loads((out / beside).read_text())


@pytest.mark.parametrize("slope", [1, 0.37])
def test_a_volume_is_where_its_headers_say(tmp_path: Path, slope: float) -> None:
    def edit(_: int, ds: Dataset) -> None:
        ds.RescaleSlope, ds.SeriesDescription = slope, "Thorax 2.5 B30f"

    truth = write_series(tmp_path / "in", edit, across=OBLIQUE[0], down=OBLIQUE[1])
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert done.images[0].files == ("3_thorax_2_5_b30f.nii.gz", "3_thorax_2_5_b30f.json")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "3_thorax_2_5_b30f.json", "3_thorax_2_5_b30f.nii.gz", "convert.json",
    ]  # fmt: skip
    image, told = load(tmp_path / "out", done)
    check(image, truth.datasets)
    assert image.get_data_dtype() == (np.int16 if slope == 1 else np.float32)
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert np.linalg.det(image.affine) < 0  # as FSL stores images and dcm2niix writes them
    assert (told["Modality"], told["KVP"], told["SliceThickness"]) == ("CT", 120, 2.5)
    assert told["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert told["Isocenter"] == {"unit": "HU", "flags": [], "keys": {}, "files": 6}
    assert (done.refused, done.to_dict()["converted"]) == ((), 1)


def test_volumes_in_time_go_along_the_fourth_axis(tmp_path: Path) -> None:
    def edit(t: int, _: int, ds: Dataset) -> None:
        ds.TemporalPositionIdentifier, ds.ScanningSequence = 3 - t, "EP"  # written last to first

    truths = times(tmp_path / "in", 3, edit)
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert [i.shape for i in done.images] == [(6, 5, 7, 3)]
    image, told = load(tmp_path / "out", done)
    assert image.shape == (7, 5, 6, 3)
    for volume, truth in enumerate(truths[::-1]):
        check(image, truth.datasets, volume)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert float(image.header["pixdim"][4]) == 2.5
    assert told["Isocenter"]["volumes"] == [{"time": "1"}, {"time": "2"}, {"time": "3"}]
    assert (told["RepetitionTime"], told["EchoTime"], told["Isocenter"]["files"]) == (2.5, 0.0305, 18)


@pytest.mark.parametrize(
    ("clock", "step"),
    [(["120000", "120007.5", "120015.0"], 7.5), (["120000", "120007", "120100"], None), (["120000"] * 3, None)],
)
def test_the_step_in_time_is_stated_or_left_open(tmp_path: Path, clock: list[str], step: float | None) -> None:
    def edit(t: int, _: int, ds: Dataset) -> None:
        ds.AcquisitionNumber, ds.AcquisitionTime, ds.RepetitionTime = t + 1, clock[t], 4.1

    times(tmp_path / "in", 3, edit)
    image, _ = load(tmp_path / "out", convert(tmp_path / "in", out=tmp_path / "out"))
    assert image.shape[3] == 3
    assert image.header.get_xyzt_units()[1] == ("sec" if step else "unknown")
    if step:
        assert float(image.header["pixdim"][4]) == step


def test_a_heart_beat_is_timed_by_its_triggers(tmp_path: Path) -> None:
    times(tmp_path / "in", 4, lambda t, _, ds: setattr(ds, "TriggerTime", 42.5 * t))
    image, _ = load(tmp_path / "out", convert(tmp_path / "in", out=tmp_path / "out"))
    assert float(image.header["pixdim"][4]) == np.float32(0.0425)


def test_echoes_are_files_of_their_own(tmp_path: Path) -> None:
    def edit(t: int, _: int, ds: Dataset) -> None:
        ds.EchoNumbers, ds.EchoTime = t + 1, 4.92 + 2.46 * t

    truths = times(tmp_path / "in", 2, edit)
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert [i.files[0] for i in done.images] == ["3_ax_t2_fast_e1.nii.gz", "3_ax_t2_fast_e2.nii.gz"]
    for number, truth in enumerate(truths):
        image, told = load(tmp_path / "out", done, number)
        check(image, truth.datasets)
        assert (told["EchoNumber"], told["EchoTime"]) == (number + 1, [0.00492, 0.00738][number])


def test_planes_are_files_of_their_own(tmp_path: Path) -> None:
    turns = [((1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, 0, -1)), ((0, 1, 0), (0, 0, -1))]
    uid = generate_uid()
    truths = []
    for k, (across, down) in enumerate(turns):

        def edit(z: int, ds: Dataset) -> None:
            mr(z, ds)
            ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.FrameOfReferenceUID = uid

        truths.append(write_series(tmp_path / "in" / str(k), edit, count=6 - k, across=across, down=down))
    done = convert(tmp_path / "in", out=tmp_path / "out")
    names = [f"3_ax_t2_fast_{plane}.nii.gz" for plane in ("axial", "coronal", "sagittal")]
    assert [i.files[0] for i in done.images] == names
    for number, truth in enumerate(truths):
        check(load(tmp_path / "out", done, number)[0], truth.datasets)


@pytest.mark.parametrize("step", [2.5, -2.5])
@pytest.mark.parametrize(("across", "down"), [((1, 0, 0), (0, 1, 0)), OBLIQUE, ((0, 1, 0), (0, 0, -1))])
def test_diffusion_is_told_in_the_axes_of_the_file(
    tmp_path: Path, across: Sequence[float], down: Sequence[float], step: float
) -> None:
    weights, turns = [0, 1000, 1000, 500], [None, (0.6, 0.0, 0.8), (0, 1, 0), (-0.48, 0.6, 0.64)]

    def edit(t: int, _: int, ds: Dataset) -> None:
        ds.DiffusionBValue, ds.AcquisitionNumber = float(weights[t]), t + 1
        if turns[t]:
            ds.DiffusionGradientOrientation = [float(v) for v in turns[t]]

    truths = times(tmp_path / "in", 4, edit, across=across, down=down, step=np.cross(across, down) * step)
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert [p.rpartition(".")[2] for p in done.images[0].files] == ["gz", "json", "bval", "bvec"]
    image, _ = load(tmp_path / "out", done)
    for volume, truth in enumerate(truths):  # in the order of acquisition
        check(image, truth.datasets, volume)
    bval, bvec = (np.loadtxt(tmp_path / "out" / name, ndmin=2) for name in done.images[0].files[2:])
    assert bval.tolist() == [weights]
    # the definition of FSL: along the axes of the voxels, the first turned round where the determinant is positive
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    flip = np.diag([-1.0 if np.linalg.det(axes) > 0 else 1.0, 1.0, 1.0])
    world = RAS @ axes @ flip @ bvec
    np.testing.assert_allclose(world.T, [t or (0, 0, 0) for t in turns], atol=1e-5)


def test_directions_that_are_not_stated_are_said_to_be_missing(tmp_path: Path) -> None:
    times(tmp_path / "in", 2, lambda t, _, ds: setattr(ds, "DiffusionBValue", 800.0 * t))
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert [p.rpartition(".")[2] for p in done.images[0].files] == ["gz", "json", "bval"]
    assert "no .bvec" in done.images[0].flags[0]


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    good = write_series(tmp_path / "in" / "good", lambda _, ds: setattr(ds, "SeriesNumber", 1))
    bad = write_series(tmp_path / "in" / "bad")
    Path(bad.files[2]).unlink()
    (tmp_path / "in" / "good" / "note.txt").write_text("not DICOM")
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert [(n.what, n.code) for n in done.refused] == [("series 3 (CT)", "missing-slice")]
    told = json.loads((tmp_path / "out" / "convert.json").read_text())
    assert told["not_converted"][0]["reason"].count("slice(s) missing") == 1
    assert (told["converted"], told["refused"], told["ignored"]) == (1, 1, 1)
    check(load(tmp_path / "out", done)[0], good.datasets)
    filled = convert(tmp_path / "in", out=tmp_path / "out", policy=GeometryPolicy(missing="fill"), overwrite=True)
    assert [i.shape[0] for i in filled.images] == [6, 6]
    flags = {i.series: i.flags for i in filled.images}
    assert flags["1"] == ()
    assert "1 missing slice(s)" in flags["3"][0]
    with pytest.raises(SeriesError, match=r"nothing could be converted: series 3 \(CT\): .* missing"):
        convert(tmp_path / "in" / "bad", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_volume_that_is_incomplete_leaves_the_others(tmp_path: Path) -> None:
    truths = times(tmp_path / "in", 3, lambda t, _, ds: setattr(ds, "EchoNumbers", t + 1))
    Path(truths[1].files[3]).unlink()
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert [i.files[0][-9:-7] for i in done.images] == ["e1", "e3"]
    assert done.refused[0].what == "series 3 (MR, echo 2)"


def test_scouts_and_reports_are_set_aside(tmp_path: Path) -> None:
    def edit(z: int, ds: Dataset) -> None:
        if z == 5:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "in", edit)
    done = convert(tmp_path / "in", out=tmp_path / "out")
    assert done.images[0].shape == (5, 5, 7)
    assert [(n.code, n.expected) for n in done.not_converted] == [("aside", True)]
    assert "scout" in done.not_converted[0].reason


def test_a_tilted_gantry_stays_exact_or_is_straightened(tmp_path: Path) -> None:
    truth = write_series(tmp_path / "in", step=(0, 0.8, 2.5))
    done = convert(tmp_path / "in", out=tmp_path / "out")
    image, told = load(tmp_path / "out", done)
    check(image, truth.datasets)
    assert int(image.header["qform_code"]) == 0  # a qform cannot shear
    assert "tilt" in told["Isocenter"]["flags"][0]
    straight = convert(tmp_path / "in", out=tmp_path / "straight", policy=GeometryPolicy(tilt="rectify"))
    image, told = load(tmp_path / "straight", straight)
    turn = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-6)
    assert told["Isocenter"]["flags"]


def test_a_chosen_series(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(tmp_path / "in" / str(number), lambda _, ds, n=number: setattr(ds, "SeriesNumber", n))  # type: ignore[misc]
    done = convert(tmp_path / "in", out=tmp_path / "a", series=["2"])
    assert [i.series for i in done.images] == ["2"]
    told = json.loads((tmp_path / "a" / done.images[0].files[1]).read_text())
    again = convert(tmp_path / "in", out=tmp_path / "b", series=[told["SeriesInstanceUID"]])
    assert again.images[0].series == "2"
    with pytest.raises(ConfigError, match=r"--series 7: .* holds series 1 \(CT\), series 2 \(CT\)"):
        convert(tmp_path / "in", out=tmp_path / "c", series=["7"])


def test_an_archive_is_read_like_its_folder(tmp_path: Path) -> None:
    truth = write_series(tmp_path / "in")
    lost = write_series(tmp_path / "lost")
    with zipfile.ZipFile(tmp_path / "disc.zip", "w") as archive:
        for file in [*truth.files, *lost.files[:3], lost.files[4]]:
            archive.write(file, f"{Path(file).parent.name}/{Path(file).name}")
    done = convert(tmp_path / "disc.zip", out=tmp_path / "out")
    check(load(tmp_path / "out", done)[0], truth.datasets)
    assert done.refused
    assert done.refused[0].reason.count("disc.zip") == done.refused[0].reason.count(".dcm")


def test_labels_lie_on_their_image(tmp_path: Path) -> None:
    truth = write_series(tmp_path / "in", lambda _, ds: setattr(ds, "PixelSpacing", [1, 1]))
    first = np.array(min((d.ImagePositionPatient for d in truth.datasets), key=lambda p: p[2]), float)
    grid = Grid.regular((6, 5, 7), spacing_mm=(2.5, 1, 1), origin_mm=first)
    masks = np.zeros((2, 6, 5, 7), np.uint8)
    masks[0, 1:3, 0:2, 4:], masks[1, 4, 3, 1] = 1, 1
    schema = LabelSchema.of({"liver": 1, "lesion": 2})
    seg = tmp_path / "in" / "seg.dcm"
    write_seg(seg, Volume(masks, grid, "label"), schema, truth.files, algorithm_name="a", algorithm_version="1")
    plain = convert(tmp_path / "in", out=tmp_path / "plain")
    assert [(n.code, n.expected) for n in plain.not_converted] == [("labels", True)]
    done = convert(tmp_path / "in", out=tmp_path / "out", labels=True)
    assert [i.modality for i in done.images] == ["CT", "SEG"]
    image, labels = (
        nib.load(tmp_path / "out" / done.images[0].files[0]),
        nib.load(tmp_path / "out" / done.images[1].files[0]),
    )
    np.testing.assert_array_equal(image.affine, labels.affine)
    told = json.loads((tmp_path / "out" / done.images[1].files[-1]).read_text())
    assert told == {"image": done.images[0].files[0], "labels": {"background": 0, "lesion": 2, "liver": 1}}
    found = np.asarray(labels.dataobj)
    for value, mask in enumerate(masks, 1):
        index = np.argwhere(found == value)
        world = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
        expected = grid.to_world(np.argwhere(mask)) @ RAS
        assert sorted(map(tuple, np.round(world, 3))) == sorted(map(tuple, np.round(expected, 3)))


def test_labels_without_their_image_keep_a_grid_of_their_own(tmp_path: Path) -> None:
    truth = write_series(tmp_path / "images", lambda _, ds: setattr(ds, "PixelSpacing", [1, 1]))
    first = np.array(min((d.ImagePositionPatient for d in truth.datasets), key=lambda p: p[2]), float)
    grid = Grid.regular((6, 5, 7), spacing_mm=(2.5, 1, 1), origin_mm=first)
    masks = np.zeros((2, 6, 5, 7), np.uint8)
    masks[0, 2:4, 1:4, 2:6], masks[1, 3, 2:5, 1:4] = 1, 1  # they overlap
    schema = LabelSchema.of({"liver": 1, "lesion": 2}, exclusive=False)
    (tmp_path / "in").mkdir()
    seg = tmp_path / "in" / "seg.dcm"
    write_seg(seg, Volume(masks, grid, "label"), schema, truth.files, algorithm_name="a", algorithm_version="1")
    done = convert(tmp_path / "in", out=tmp_path / "out", labels=True)
    (image,) = done.images
    assert image.flags
    told = json.loads((tmp_path / "out" / image.files[-1]).read_text())
    assert sorted(told["files"].values()) == ["lesion", "liver"]
    for file, name in told["files"].items():
        labels = nib.load(tmp_path / "out" / file)
        found = np.argwhere(np.asarray(labels.dataobj)) @ labels.affine[:3, :3].T + labels.affine[:3, 3]
        expected = grid.to_world(np.argwhere(masks[["liver", "lesion"].index(name)])) @ RAS
        assert sorted(map(tuple, np.round(found, 3))) == sorted(map(tuple, np.round(expected, 3)))
    with pytest.raises(SeriesError, match="nothing could be converted"):
        convert(tmp_path / "in", out=tmp_path / "none")


def test_pet_in_standardised_uptake_values(tmp_path: Path) -> None:
    def edit(_: int, ds: Dataset) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        ds.Modality, ds.Units, ds.DecayCorrection, ds.PatientWeight = "PT", "BQML", "START", 80
        ds.CorrectedImage, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = ["DECY", "ATTN"], 12.5, 0, None
        ds.SeriesDate = ds.AcquisitionDate = "20200101"
        ds.SeriesTime = ds.AcquisitionTime = "130000"
        dose = Dataset()
        dose.RadiopharmaceuticalStartTime, dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = "120000", 4e8, 6600
        ds.RadiopharmaceuticalInformationSequence = [dose]

    truth = write_series(tmp_path / "in", edit)
    plain = convert(tmp_path / "in", out=tmp_path / "plain")
    check(load(tmp_path / "plain", plain)[0], truth.datasets)
    assert plain.images[0].unit != "SUVbw"
    done = convert(tmp_path / "in", out=tmp_path / "out", suv=True)
    image, told = load(tmp_path / "out", done)
    factor = 80_000 / (4e8 * 2 ** (-3600 / 6600))
    expected = np.asarray(nib.load(tmp_path / "plain" / plain.images[0].files[0]).dataobj) * factor
    np.testing.assert_allclose(np.asarray(image.dataobj), expected, rtol=1e-5)
    assert (told["Isocenter"]["unit"], told["RadionuclideTotalDose"], told["Units"]) == ("SUVbw", 4e8, "BQML")


def test_nothing_that_identifies_is_left(tmp_path: Path) -> None:
    secret = "Zyxwvut"  # noqa: S105

    def edit(t: int, _: int, ds: Dataset) -> None:
        ds.SeriesDescription = ds.ProtocolName = ds.StudyDescription = f"{secret} protocol"
        ds.InstitutionName, ds.StationName, ds.AcquisitionTime, ds.AcquisitionDate = (
            secret,
            secret,
            "081507",
            "20171224",
        )
        ds.AcquisitionNumber = t + 1

    truths = times(tmp_path / CANARY, 2, edit)
    lost = write_series(tmp_path / CANARY / "lost")
    Path(lost.files[3]).unlink()
    done = convert(tmp_path / CANARY, out=tmp_path / "out", anonymous=True)
    assert done.images[0].files[0] in ("patient1/study1/3_mr.nii.gz", "patient1/study2/3_mr.nii.gz")
    assert done.refused
    ds = truths[0].datasets[0]
    words = [secret, CANARY, ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID, ds.SOPInstanceUID]
    words += [lost.datasets[0].SeriesInstanceUID, "08:15:07", "081507", "20171224", "20200101", str(tmp_path)]
    for path in (tmp_path / "out").rglob("*"):
        text = str(path.relative_to(tmp_path)) + (path.read_bytes().decode("latin-1") if path.suffix == ".json" else "")
        if path.name.endswith(".nii.gz"):
            text += bytes(nib.load(path).header.binaryblock).decode("latin-1")
        assert [w for w in words if w in text] == [], path
    told = json.loads((tmp_path / "out" / done.images[0].files[1]).read_text())
    assert (told["SeriesNumber"], told["EchoTime"]) == (3, 0.0305)


def test_names_are_safe_and_used_once(tmp_path: Path) -> None:
    uid = generate_uid()
    texts = ["../../etc/passwd", "CON", "头部", "a" * 64, "..", "T1 (a)", "t1 A"]
    for number, text in enumerate(texts):

        def edit(_: int, ds: Dataset, text: str = text) -> None:
            ds.SpecificCharacterSet, ds.SeriesDescription, ds.StudyInstanceUID = "ISO_IR 192", text, uid

        write_series(tmp_path / "in" / str(number), edit, count=2)
    done = convert(tmp_path / "in", out=tmp_path / "out", name="{description}")
    names = sorted(i.files[0].removesuffix(".nii.gz") for i in done.images)
    assert names == ["_con", "a" * 64, "ct", "ct_2", "etc_passwd", "t1_a", "t1_a_2"]
    assert {p.parent for p in (tmp_path / "out").rglob("*.nii.gz")} == {tmp_path / "out"}
    folders = convert(tmp_path / "in", out=tmp_path / "f", name="{patient}/{modality}-{number}")
    assert len({Path(i.files[0]).parent for i in folders.images}) == 1
    for template, what in [("{uid}", "{uid} is not known"), ("{", "Single"), ("all", "names every file alike")]:
        with pytest.raises(ConfigError, match=what):
            convert(tmp_path / "in", out=tmp_path / "g", name=template)
    with pytest.raises(ConfigError, match="free text"):
        convert(tmp_path / "in", out=tmp_path / "g", name="{description}", anonymous=True)


@given(st.text(max_size=120))
def test_safe_names(text: str) -> None:
    name = safe(text)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(name) <= 80
    assert safe(name) == name


def test_a_folder_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        convert(tmp_path / "in", out=tmp_path / "out")
    with pytest.raises(SeriesError, match="holds no DICOM"):
        convert(tmp_path / "out", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    convert(tmp_path / "in", out=tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "precious").exists()
