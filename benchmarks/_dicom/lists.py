"""pydicom's own test files: those that must be read, and those that must be refused, each with its reason."""

from __future__ import annotations

__all__ = ["PYDICOM_READ", "PYDICOM_REFUSED"]

_DISC = "test_files/dicomdirtests"
_ONE = "one slice with its thickness is a grid"
_PLAIN = "a radiograph states no place in the patient, its values are plain"

PYDICOM_READ: tuple[tuple[str, str, str, int], ...] = (
    ("test_files/CT_small.dcm", "volume", _ONE, 0),
    ("test_files/693_J2KI.dcm", "volume", f"{_ONE}; lossy, so decoders may differ by 1", 1),
    ("test_files/J2K_pixelrep_mismatch.dcm", "volume",
     f"{_ONE}; the stream is unsigned where the header says signed: the header says what the bits mean", 0),
    ("test_files/MR_small.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_RLE.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_bigendian.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_expb.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_implicit.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_jp2klossless.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_jpeg_ls_lossless.dcm", "volume", _ONE, 0),
    ("test_files/MR_small_padded.dcm", "volume", f"{_ONE}; bytes after the pixels mean nothing", 0),
    ("test_files/examples_overlay.dcm", "volume", f"{_ONE}; the overlay is apart from the pixels", 0),
    (f"{_DISC}/98892001/CT5N", "volume", "five slices, regular", 0),
    (f"{_DISC}/98892003/MR1", "volume", "three series of one slice each", 0),
    (f"{_DISC}/98892003/MR2", "volume", "three series; two of them hold three orientations of one slice each", 0),
    (f"{_DISC}/98892003/MR700", "volume", "seven projections, each in a plane of its own", 0),
    (f"{_DISC}/77654033/CR1", "values", _PLAIN, 0),
    (f"{_DISC}/77654033/CR2", "values", _PLAIN, 0),
    (f"{_DISC}/77654033/CR3", "values", _PLAIN, 0),
)  # fmt: skip

PYDICOM_REFUSED: tuple[tuple[str, str, str, str], ...] = (
    ("test_files/MR_truncated.dcm", "62 bytes of its pixels are lost", "FileFormatError SeriesError",
     "truncated damaged-file"),
    (f"{_DISC}/77654033/CT2", "161 slices between the first and the second are missing", "GeometryError",
     "missing-slice"),
    (f"{_DISC}/98892001/CT2N", "two localizers and nothing else", "SeriesError", "localizer"),
    (f"{_DISC}/TINY_ALPHA/PT000000", "CT without pixels", "SeriesError", "no-pixels not-a-slice"),
    (f"{_DISC}/DICOMDIR", "one of the disc's series lacks slices: see 77654033/CT2", "GeometryError", "missing-slice"),
    (f"{_DISC}/DICOMDIR-empty.dcm {_DISC}/TINY_ALPHA/DICOMDIR", "a directory of nothing that has pixels", "SeriesError",
     "not-a-slice no-pixels ignored empty"),
    ("test_files/ExplVR_BigEnd.dcm test_files/examples_jpeg2k.dcm test_files/examples_palette.dcm"
     " test_files/examples_rgb_color.dcm test_files/examples_ybr_color.dcm", "ultrasound: colour, no place",
     "SeriesError", "not-a-slice colour"),
    ("test_files/GDCMJ2K_TextGBR.dcm test_files/SC_jpeg_no_color_transform.dcm"
     " test_files/SC_jpeg_no_color_transform_2.dcm test_files/SC_rgb_dcmtk_+eb+cr.dcm"
     " test_files/SC_rgb_dcmtk_+eb+cy+n1.dcm test_files/SC_rgb_dcmtk_+eb+cy+n2.dcm"
     " test_files/SC_rgb_dcmtk_+eb+cy+np.dcm test_files/SC_rgb_dcmtk_+eb+cy+s2.dcm"
     " test_files/SC_rgb_dcmtk_+eb+cy+s4.dcm test_files/SC_rgb_gdcm_KY.dcm test_files/SC_rgb_jls_lossy_line.dcm"
     " test_files/SC_rgb_jls_lossy_sample.dcm test_files/SC_rgb_jpeg.dcm test_files/SC_rgb_jpeg_app14_dcmd.dcm"
     " test_files/SC_rgb_jpeg_dcmd.dcm test_files/SC_rgb_jpeg_dcmtk.dcm test_files/SC_rgb_jpeg_gdcm.dcm"
     " test_files/SC_rgb_jpeg_lossy_gdcm.dcm test_files/SC_rgb_rle.dcm test_files/SC_rgb_rle_16bit.dcm"
     " test_files/SC_rgb_rle_16bit_2frame.dcm test_files/SC_rgb_rle_2frame.dcm test_files/SC_rgb_rle_32bit.dcm"
     " test_files/SC_rgb_rle_32bit_2frame.dcm test_files/SC_rgb_small_odd.dcm"
     " test_files/SC_rgb_small_odd_big_endian.dcm test_files/SC_rgb_small_odd_jpeg.dcm"
     " test_files/SC_ybr_full_422_uncompressed.dcm", "a colour secondary capture: a picture of a screen",
     "SeriesError", "not-a-slice colour secondary"),
    ("test_files/JPEG-lossy.dcm test_files/JPEG2000-embedded-sequence-delimiter.dcm test_files/JPEG2000.dcm"
     " test_files/JPEGLSNearLossless_08.dcm test_files/JPEGLSNearLossless_16.dcm test_files/JPGExtended.dcm"
     " test_files/image_dfl.dcm charset_files/chrArab.dcm charset_files/chrFren.dcm charset_files/chrFrenMulti.dcm"
     " charset_files/chrGerm.dcm charset_files/chrGreek.dcm charset_files/chrH31.dcm charset_files/chrH32.dcm"
     " charset_files/chrHbrw.dcm charset_files/chrI2.dcm charset_files/chrRuss.dcm charset_files/chrX1.dcm"
     " charset_files/chrX2.dcm", "a secondary capture: neither place nor scale is stated", "SeriesError",
     "not-a-slice secondary"),
    ("charset_files/chrJapMulti.dcm charset_files/chrJapMultiExplicitIR6.dcm charset_files/chrKoreanMulti.dcm",
     "radiographs without pixels", "FileFormatError SeriesError", "no-pixels truncated"),
    ("test_files/liver_1frame.dcm test_files/liver_expb_1frame.dcm", "a segmentation is no image", "SeriesError",
     "not-a-slice"),
    ("test_files/rtdose.dcm test_files/rtdose_1frame.dcm test_files/rtdose_expb.dcm test_files/rtdose_expb_1frame.dcm"
     " test_files/rtdose_rle.dcm test_files/rtdose_rle_1frame.dcm", "a dose is no image, and is not read yet",
     "SeriesError", "not-a-slice"),
    ("test_files/badVR.dcm", "a dose, and a damaged one", "FileFormatError SeriesError",
     "not-a-slice damaged-file bad-element"),
    ("test_files/rtplan.dcm test_files/rtstruct.dcm test_files/reportsi.dcm"
     " test_files/reportsi_with_empty_number_tags.dcm test_files/test-SR.dcm test_files/waveform_ecg.dcm"
     " palettes/fall.dcm palettes/hotiron.dcm palettes/hotmetalblue.dcm palettes/pet.dcm palettes/pet20step.dcm"
     " palettes/spring.dcm palettes/summer.dcm palettes/winter.dcm", "it has no pixels", "SeriesError",
     "not-a-slice no-pixels ignored"),
    ("test_files/ExplVR_BigEndNoMeta.dcm test_files/ExplVR_LitEndNoMeta.dcm test_files/rtplan_truncated.dcm"
     " test_files/UN_sequence.dcm test_files/empty_charset_LEI.dcm test_files/meta_missing_tsyntax.dcm"
     " test_files/nested_priv_SQ.dcm test_files/no_meta.dcm test_files/no_meta_group_length.dcm test_files/priv_SQ.dcm"
     " charset_files/chrSQEncoding.dcm charset_files/chrSQEncoding1.dcm", "a fragment of a DICOM file, without pixels",
     "FileFormatError SeriesError", "not-a-slice no-pixels ignored damaged-file"),
    (f"{_DISC}/DICOMDIR-bigEnd {_DISC}/DICOMDIR-implicit {_DISC}/DICOMDIR-nooffset {_DISC}/DICOMDIR-nopatient"
     f" {_DISC}/DICOMDIR-reordered", "directories that break the rules, on the disc whose series lacks slices",
     "GeometryError FileFormatError SeriesError", "missing-slice damaged-file not-a-slice no-pixels ignored"),
)  # fmt: skip
