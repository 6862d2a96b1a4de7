"""New UIDs, shifted dates, pseudonyms: the properties that they promise."""

from __future__ import annotations

import stat
import string
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.io.dicom.deidentify import DeidentifyOptions, Secret, new_secret_file, read_secret
from isocenter.io.dicom.deidentify.dates import is_temporal, shifted
from isocenter.io.dicom.deidentify.patients import Patients, read_patients
from isocenter.io.dicom.deidentify.uids import is_structural, is_uid, well_known
from isocenter.records import ConfigError

KEY = b"the key of these tests"
uids = st.lists(st.integers(0, 10**12), min_size=1, max_size=5).map(lambda n: ".".join(map(str, n)))
keys = st.binary(min_size=16, max_size=64)
days = st.integers(-36500, 36500).filter(bool)
moments = st.datetimes(datetime(1850, 1, 1), datetime(2200, 1, 1))


@given(st.sets(uids, min_size=2, max_size=20), keys)
def test_uids_are_valid_stable_and_distinct(old: set[str], key: bytes) -> None:
    secret = Secret(key)
    new = {uid: secret.uid(uid) for uid in old}
    assert len(set(new.values())) == len(old)
    assert new == {uid: Secret(key).uid(uid) for uid in old}
    for one in new.values():
        assert pydicom.uid.UID(one).is_valid
        assert len(one) <= 64
        assert UUID(int=int(one.removeprefix("2.25."))).version == 8
        assert UUID(int=int(one.removeprefix("2.25."))).variant == "specified in RFC 4122"
    assert not set(new.values()) & old


@given(uids, keys, keys)
def test_another_key_gives_other_values(uid: str, one: bytes, other: bytes) -> None:
    if one.rstrip(b"\0") != other.rstrip(b"\0"):  # HMAC pads keys with zeros
        assert Secret(one).uid(uid) != Secret(other).uid(uid)
        assert Secret(one).patient(uid) != Secret(other).patient(uid)


@given(st.text(min_size=1, max_size=64), keys)
def test_pseudonyms_are_plain_and_shifts_bounded(patient: str, key: bytes) -> None:
    secret = Secret(key)
    pseudonym = secret.patient(patient)
    assert pseudonym[0] == "P"
    assert len(pseudonym) == 13
    assert set(pseudonym) <= set(string.ascii_uppercase + string.digits)
    assert -3650 <= secret.days(patient) <= -1
    assert len(secret.station(patient)) <= 16


@given(moments, moments, days)
def test_intervals_of_dates_are_kept(first: datetime, second: datetime, by: int) -> None:
    moved = [datetime.strptime(str(shifted(f"{m:%Y%m%d}", "DA", by)), "%Y%m%d") for m in (first, second)]
    assert moved[1] - moved[0] == datetime(*second.timetuple()[:3]) - datetime(*first.timetuple()[:3])
    assert moved[0] - datetime(*first.timetuple()[:3]) == timedelta(days=by)


@given(moments, moments, days, st.sampled_from(["", "+0000", "-0930", "+1400"]), st.integers(0, 6))
def test_intervals_of_times_are_kept(first: datetime, second: datetime, by: int, offset: str, digits: int) -> None:
    def written(moment: datetime) -> str:
        fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
        return f"{moment:%Y%m%d%H%M%S}{fraction}{offset}"

    def read(text: str) -> datetime:
        text = text[: len(text) - len(offset)]
        return datetime.strptime(text, "%Y%m%d%H%M%S.%f" if "." in text else "%Y%m%d%H%M%S")

    old = [written(first), written(second)]
    new = [str(shifted(text, "DT", by)) for text in old]
    assert [len(t) for t in new] == [len(t) for t in old]
    assert [t[8:] for t in new] == [t[8:] for t in old]
    assert read(new[1]) - read(new[0]) == read(old[1]) - read(old[0])


@given(moments, days, st.sampled_from(["%Y", "%Y%m", "%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M"]))
def test_precision_is_kept(moment: datetime, by: int, form: str) -> None:
    new = shifted(moment.strftime(form), "DT", by)
    assert new is not None
    assert len(new) == len(moment.strftime(form))
    # a month without a day becomes the month that its first day is moved to, at most one month from the exact one
    assert abs(int(new[:4]) - (moment + timedelta(days=by)).year) <= 1


@given(st.text(max_size=30))
def test_a_text_that_is_no_date_is_never_passed_on(text: str) -> None:
    for vr in ("DA", "DT", "TM"):
        value = shifted(text, vr, 5)
        assert value is None or not set(value) - set("0123456789.+-:")
        assert is_temporal(text, vr) == (shifted(text, vr, 0) is not None)


@pytest.mark.parametrize(
    ("value", "vr", "by", "expected"),
    [
        ("2024.02.28", "DA", 2, "2024.03.01"),
        ("20240230", "DA", 1, None),
        ("00010101", "DA", -1, None),
        ("99991231", "DA", 1, None),
        ("202402281530", "DT", -59, "202312311530"),
        ("20240228-0500", "DT", 1, "20240229-0500"),
        ("2024", "DT", 366, "2025"),
        ("20240228 Smith", "DT", 1, None),
        ("1530Smith", "TM", 1, None),
        ("15:30:00", "TM", 1, "15:30:00"),
    ],
)
def test_dates_one_by_one(value: str, vr: str, by: int, expected: str | None) -> None:
    assert shifted(value, vr, by) == expected


def test_which_uids_stand_for_a_patient() -> None:
    assert well_known("1.2.840.10008.5.1.4.1.1.2")
    assert well_known("1.2.840.10008.1.4.1.1")  # Talairach brain atlas frame of reference
    assert not well_known("1.2.840.10008.5.1.4.1.1.2.99999")
    assert is_structural("SOPClassUID")
    assert is_structural("MACCalculationTransferSyntaxUID")
    assert not is_structural("FrameOfReferenceUID")
    assert not is_uid("1.2/../3")
    assert not is_uid("1" * 65)


def test_keys(tmp_path: Path) -> None:
    made = new_secret_file(tmp_path / "deep" / "key")
    assert stat.S_IMODE((tmp_path / "deep" / "key").stat().st_mode) == 0o600
    assert read_secret(tmp_path / "deep" / "key").uid("1.2") == made.uid("1.2")
    assert new_secret_file(tmp_path / "other").uid("1.2") != made.uid("1.2")
    assert Secret.random().uid("1.2") != Secret.random().uid("1.2")
    with pytest.raises(ConfigError, match="no key can be written"):
        new_secret_file(tmp_path / "other")
    (tmp_path / "short").write_bytes(b"secret")
    with pytest.raises(ConfigError, match="holds 6 bytes, a key needs at least 16"):
        read_secret(tmp_path / "short")
    with pytest.raises(ConfigError, match="cannot be read as a key"):
        read_secret(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="at least 16"):
        Secret(b"")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient;pseudonym\n1234567;A\n", "columns"),
        ("patient,pseudonym\n1234567,A\n1234567,B\n", "line 3: the patient is there twice"),
        ("patient,pseudonym\n,A\n", "line 2: the patient is empty"),
        ("patient,pseudonym\n1234567,A/../B\n", "line 2: the pseudonym is not"),
        ("patient,pseudonym\n1234567,A\n7654321,a\n", "line 3: the pseudonym is given to two"),
        ("patient,pseudonym\n1234567,7654321\n7654321,A\n", "line 2: the pseudonym is the Patient ID"),
        ("patient,pseudonym\n1234567,\n", "line 2: the pseudonym is not"),
    ],
)
def test_tables_of_pseudonyms_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_patients(tmp_path / "p.csv")
    assert "1234567" not in str(caught.value)
    assert "7654321" not in str(caught.value)


def test_pseudonyms_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("site,patient,pseudonym\nx, 1234567 ,A-01\n")
    patients = Patients(Secret(KEY), read_patients(tmp_path / "p.csv"))
    assert patients.pseudonym("1234567") == "A-01"
    assert patients.pseudonym("other") is None
    with pytest.raises(ConfigError, match="cannot be read"):
        read_patients(tmp_path / "q.csv")
    (tmp_path / "p.csv").write_bytes(b"patient,pseudonym\n\xff\xfe,A\n")
    with pytest.raises(ConfigError, match="no CSV table in UTF-8"):
        read_patients(tmp_path / "p.csv")


def test_options() -> None:
    every = DeidentifyOptions(
        keep_uids=True,
        shift_dates="auto",
        keep_device=True,
        keep_institution=True,
        keep_characteristics=True,
        keep_safe_private=True,
        clean_descriptors=True,
    )
    codes = [code for code, _ in every.method_codes]
    assert codes == ["113100", "113105", "113107", "113108", "113109", "113110", "113111", "113112"]
    assert DeidentifyOptions().method_codes == (("113100", "Basic Application Confidentiality Profile"),)
    assert [o.temporal for o in (DeidentifyOptions(), every, DeidentifyOptions(keep_dates=True))] == [
        "REMOVED",
        "MODIFIED",
        "UNMODIFIED",
    ]
    for wrong in (0, 40000, True, "often", 1.5):
        with pytest.raises(ConfigError, match="shift_dates is"):
            DeidentifyOptions(shift_dates=wrong)
