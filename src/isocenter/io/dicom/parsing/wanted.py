"""Which elements a `Header` keeps: public ones by number, private ones by their creator.

Left out on purpose: names, birth dates, addresses, accession numbers, comments. PatientID is kept as the key of
splits; weight, size and sex of the patient are needed for standardised uptake values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KNOWN", "TAGS", "Kind", "Wanted", "reserved"]

# number, value representation, keyword (PS3.6); XS is unsigned or signed as Pixel Representation says
_PUBLIC = """
# What it is, and to what it belongs
00080005 CS SpecificCharacterSet | 00080008 CS ImageType | 00080016 UI SOPClassUID | 00080018 UI SOPInstanceUID
0020000D UI StudyInstanceUID | 0020000E UI SeriesInstanceUID | 00200052 UI FrameOfReferenceUID | 00100020 LO PatientID
00080060 CS Modality | 0008103E LO SeriesDescription | 00200011 IS SeriesNumber | 00200013 IS InstanceNumber
00200012 IS AcquisitionNumber | 00080020 DA StudyDate | 00080021 DA SeriesDate | 00080022 DA AcquisitionDate
00080023 DA ContentDate | 0008002A DT AcquisitionDateTime | 00080031 TM SeriesTime | 00080032 TM AcquisitionTime
00080033 TM ContentTime | 00080030 TM StudyTime | 00080070 LO Manufacturer | 00081090 LO ManufacturerModelName
00181020 LO SoftwareVersions | 00180015 CS BodyPartExamined | 00181030 LO ProtocolName | 00185100 CS PatientPosition
00200060 CS Laterality | 00200062 CS ImageLaterality | 00185101 CS ViewPosition | 00200020 CS PatientOrientation
00180010 LO ContrastBolusAgent | 00400254 LO PerformedProcedureStepDescription | 00080064 CS ConversionType
00280301 CS BurnedInAnnotation | 00209072 CS FrameLaterality | 00080068 CS PresentationIntentType
# Pixels
00280002 US SamplesPerPixel | 00280004 CS PhotometricInterpretation | 00280006 US PlanarConfiguration
00280008 IS NumberOfFrames | 00280009 AT FrameIncrementPointer | 00280010 US Rows | 00280011 US Columns
00280100 US BitsAllocated | 00280101 US BitsStored | 00280102 US HighBit | 00280103 US PixelRepresentation
00282110 CS LossyImageCompression | 00282112 DS LossyImageCompressionRatio
# Values
00280106 XS SmallestImagePixelValue | 00280107 XS LargestImagePixelValue | 00280120 XS PixelPaddingValue
00280121 XS PixelPaddingRangeLimit | 00280122 FL FloatPixelPaddingValue | 00280123 FD DoubleFloatPixelPaddingValue
00280124 FL FloatPixelPaddingRangeLimit | 00281040 CS PixelIntensityRelationship
00281041 SS PixelIntensityRelationshipSign | 00281050 DS WindowCenter | 00281051 DS WindowWidth
00281052 DS RescaleIntercept | 00281053 DS RescaleSlope | 00281054 LO RescaleType | 00281056 CS VOILUTFunction
00283000 SQ ModalityLUTSequence | 00283002 XS LUTDescriptor | 00283003 LO LUTExplanation | 00283004 LO ModalityLUTType
00283006 OW LUTData | 00409096 SQ RealWorldValueMappingSequence | 00409216 XS RealWorldValueFirstValueMapped
00409211 XS RealWorldValueLastValueMapped | 00409214 FD DoubleFloatRealWorldValueFirstValueMapped
00409213 FD DoubleFloatRealWorldValueLastValueMapped | 00409224 FD RealWorldValueIntercept
00409225 FD RealWorldValueSlope | 00409212 FD RealWorldValueLUTData | 00409210 SH LUTLabel
004008EA SQ MeasurementUnitsCodeSequence | 00409220 SQ QuantityDefinitionSequence
0040A043 SQ ConceptNameCodeSequence | 0040A168 SQ ConceptCodeSequence | 00080100 SH CodeValue
00080102 SH CodingSchemeDesignator | 00080104 LO CodeMeaning | 00289145 SQ PixelValueTransformationSequence
00289132 SQ FrameVOILUTSequence | 30040002 CS DoseUnits | 3004000E DS DoseGridScaling
# Places
00200032 DS ImagePositionPatient | 00200037 DS ImageOrientationPatient | 00280030 DS PixelSpacing
00180050 DS SliceThickness | 00180088 DS SpacingBetweenSlices | 00181120 DS GantryDetectorTilt
00201041 DS SliceLocation | 00181164 DS ImagerPixelSpacing | 00182010 DS NominalScannedPixelSpacing
00280A02 CS PixelSpacingCalibrationType | 00280A04 LO PixelSpacingCalibrationDescription
00280034 IS PixelAspectRatio | 00187020 DS DetectorElementPhysicalSize | 00187022 DS DetectorElementSpacing
00187028 DS DetectorActiveOrigin | 00181114 DS EstimatedRadiographicMagnificationFactor
00181110 DS DistanceSourceToDetector | 00181111 DS DistanceSourceToPatient | 3004000C DS GridFrameOffsetVector
00181100 DS ReconstructionDiameter | 00189322 FD ReconstructionPixelSpacing | 00189327 FD TablePosition
# Frames of a multi-frame image
52009229 SQ SharedFunctionalGroupsSequence | 52009230 SQ PerFrameFunctionalGroupsSequence
00289110 SQ PixelMeasuresSequence | 00209113 SQ PlanePositionSequence | 00209116 SQ PlaneOrientationSequence
00209111 SQ FrameContentSequence | 00209222 SQ DimensionIndexSequence | 00209165 AT DimensionIndexPointer
00209167 AT FunctionalGroupPointer | 00209157 UL DimensionIndexValues | 00209311 CS DimensionOrganizationType
00089007 CS FrameType | 00209056 SH StackID | 00209057 UL InStackPositionNumber | 00209156 US FrameAcquisitionNumber
00189074 DT FrameAcquisitionDateTime | 00189151 DT FrameReferenceDateTime | 00189220 FD FrameAcquisitionDuration
00209128 UL TemporalPositionIndex | 00209310 SQ TemporalPositionSequence | 0020930D FD TemporalPositionTimeOffset
00189329 SQ CTImageFrameTypeSequence | 00189226 SQ MRImageFrameTypeSequence | 00189751 SQ PETFrameTypeSequence
00409092 SQ ParametricMapFrameTypeSequence | 00089205 CS PixelPresentation | 00089206 CS VolumetricProperties
00089207 CS VolumeBasedCalculationTechnique | 00089208 CS ComplexImageComponent | 00089209 CS AcquisitionContrast
00189112 SQ MRTimingAndRelatedParametersSequence | 00189114 SQ MREchoSequence | 00189082 FD EffectiveEchoTime
00189117 SQ MRDiffusionSequence | 00189076 SQ DiffusionGradientDirectionSequence | 00189115 SQ MRModifierSequence
00189125 SQ MRFOVGeometrySequence | 00189119 SQ MRAveragesSequence | 00189042 SQ MRReceiveCoilSequence
00189118 SQ CardiacSynchronizationSequence | 00209153 FD NominalCardiacTriggerDelayTime
00189304 SQ CTAcquisitionDetailsSequence | 00189321 SQ CTExposureSequence | 00189314 SQ CTReconstructionSequence
00189325 SQ CTXRayDetailsSequence | 00189732 SQ PETFrameAcquisitionSequence
00189736 SQ PETFrameCorrectionFactorsSequence | 00540022 SQ DetectorInformationSequence | 00540080 US SliceVector
00540081 US NumberOfSlices | 00540070 US TimeSlotVector | 00540071 US NumberOfTimeSlots
00540101 US NumberOfTimeSlices
# Segmentations
00620001 CS SegmentationType | 00620010 CS SegmentationFractionalType | 0062000E US MaximumFractionalValue
00620013 CS SegmentsOverlap | 00620002 SQ SegmentSequence | 00620004 US SegmentNumber | 00620005 LO SegmentLabel
0062000D US RecommendedDisplayCIELabValue | 0062000F SQ SegmentedPropertyTypeCodeSequence | 00080119 UC LongCodeValue
0062000A SQ SegmentIdentificationSequence | 0062000B US ReferencedSegmentNumber | 00480102 DS ImageOrientationSlide
00081115 SQ ReferencedSeriesSequence | 0008114A SQ ReferencedInstanceSequence | 00081155 UI ReferencedSOPInstanceUID
# What tells several volumes of one series apart
00180081 DS EchoTime | 00180086 IS EchoNumbers | 00180082 DS InversionTime | 00189079 FD InversionTimes
00181314 DS FlipAngle | 00180080 DS RepetitionTime | 00181060 DS TriggerTime | 00181090 IS CardiacNumberOfImages
00209241 FL NominalPercentageOfCardiacPhase | 00200100 IS TemporalPositionIdentifier
00200105 IS NumberOfTemporalPositions | 00200110 DS TemporalResolution | 00189087 FD DiffusionBValue
00189075 CS DiffusionDirectionality | 00189089 FD DiffusionGradientOrientation | 00541300 DS FrameReferenceTime
00181063 DS FrameTime | 00181065 DS FrameTimeVector | 00200015 IS PhaseNumber
# PET
00101030 DS PatientWeight | 00101020 DS PatientSize | 00100040 CS PatientSex | 00280051 CS CorrectedImage
00541102 CS DecayCorrection | 00189701 DT DecayCorrectionDateTime | 00541001 CS Units | 00541006 CS SUVType
00541002 CS CountsSource | 00541000 CS SeriesType | 00541321 DS DecayFactor | 00181242 IS ActualFrameDuration
00541322 DS DoseCalibrationFactor | 00541100 CS RandomsCorrectionMethod | 00541101 LO AttenuationCorrectionMethod
00541105 LO ScatterCorrectionMethod | 00541103 LO ReconstructionMethod | 00189758 CS DecayCorrected
00540016 SQ RadiopharmaceuticalInformationSequence | 00180031 LO Radiopharmaceutical
00181072 TM RadiopharmaceuticalStartTime | 00181078 DT RadiopharmaceuticalStartDateTime
00181073 TM RadiopharmaceuticalStopTime | 00181074 DS RadionuclideTotalDose | 00181075 DS RadionuclideHalfLife
00181076 DS RadionuclidePositronFraction | 00181071 DS RadiopharmaceuticalVolume
00181077 DS RadiopharmaceuticalSpecificActivity | 00540300 SQ RadionuclideCodeSequence | 00541330 US ImageIndex
00189729 US RadiopharmaceuticalAgentNumber | 00189737 SQ RadiopharmaceuticalUsageSequence
00189759 CS AttenuationCorrected | 00080201 SH TimezoneOffsetFromUTC
# How it was made
00180087 DS MagneticFieldStrength | 00180024 SH SequenceName | 00189005 SH PulseSequenceName
00180020 CS ScanningSequence | 00180021 CS SequenceVariant | 00180022 CS ScanOptions | 00180023 CS MRAcquisitionType
00180091 IS EchoTrainLength | 00180083 DS NumberOfAverages | 00180089 IS NumberOfPhaseEncodingSteps
00180095 DS PixelBandwidth | 00180084 DS ImagingFrequency | 00180085 SH ImagedNucleus
00181312 CS InPlanePhaseEncodingDirection | 00180093 DS PercentSampling | 00180094 DS PercentPhaseFieldOfView
00181310 US AcquisitionMatrix | 00189073 FD AcquisitionDuration | 00181250 SH ReceiveCoilName
00181251 SH TransmitCoilName | 00181316 DS SAR | 00181315 CS VariableFlipAngleFlag
00189006 SQ MRImagingModifierSequence | 00189098 FD TransmitterFrequency | 00189018 CS EchoPlanarPulseSequence
00189155 FD ParallelReductionFactorOutOfPlane | 00189069 FD ParallelReductionFactorInPlane
00189078 CS ParallelAcquisitionTechnique | 00189081 CS PartialFourier
00189036 CS PartialFourierDirection | 00189231 US MRAcquisitionPhaseEncodingStepsInPlane | 00180060 DS KVP
00181152 IS Exposure | 00181150 IS ExposureTime | 00181151 IS XRayTubeCurrent | 00189330 FD XRayTubeCurrentInmA
00189328 FD ExposureTimeInms | 00189332 FD ExposureInmAs | 00181210 SH ConvolutionKernel | 00181160 SH FilterType
00181170 IS GeneratorPower | 00181190 DS FocalSpots | 00180090 DS DataCollectionDiameter
00189311 FD SpiralPitchFactor | 00189306 FD SingleCollimationWidth | 00189307 FD TotalCollimationWidth
00189305 FD RevolutionTime | 00189345 FD CTDIvol | 00180034 LO InterventionDrugName
"""
# group, low byte of the element, value representation, creator
_PRIVATE = """
0009 0D DT GEMS_PETD_01 | 0043 39 IS GEMS_PARM_01 | 0043 2C SS GEMS_PARM_01 | 0043 83 DS GEMS_PARM_01
0019 BB DS GEMS_ACQU_01 | 0019 BC DS GEMS_ACQU_01 | 0019 BD DS GEMS_ACQU_01
0019 0A US SIEMENS MR HEADER | 0019 0C IS SIEMENS MR HEADER | 0019 0D CS SIEMENS MR HEADER
0019 0E FD SIEMENS MR HEADER | 0019 27 FD SIEMENS MR HEADER | 0019 28 FD SIEMENS MR HEADER
0019 29 FD SIEMENS MR HEADER | 0029 10 OB SIEMENS CSA HEADER | 0029 20 OB SIEMENS CSA HEADER
0051 0B SH SIEMENS MR HEADER | 0051 0C SH SIEMENS MR HEADER | 0051 0E SH SIEMENS MR HEADER
0051 0F LO SIEMENS MR HEADER | 0051 11 LO SIEMENS MR HEADER | 0051 13 SH SIEMENS MR HEADER
0051 16 LO SIEMENS MR HEADER | 0051 17 SH SIEMENS MR HEADER
0021 FE SQ SIEMENS MR SDI 02 | 0021 1C IS SIEMENS MR SDI 02 | 0021 53 FD SIEMENS MR SDI 02
2001 03 FL Philips Imaging DD 001 | 2001 04 CS Philips Imaging DD 001
2005 0D FL Philips MR Imaging DD 001 | 2005 0E FL Philips MR Imaging DD 001
2005 B0 FL Philips MR Imaging DD 001 | 2005 B1 FL Philips MR Imaging DD 001 | 2005 B2 FL Philips MR Imaging DD 001
7053 00 DS Philips PET Private Group | 7053 09 DS Philips PET Private Group
"""


class Kind:
    """What a walk does with an element."""

    VALUE, SEQUENCE, CHARSET, SIGN, CREATOR, RAW, MOSAIC, PIXELS, STRAY, END = range(10)


class Wanted(NamedTuple):
    """An element that is not passed over: its name in `Header.tags`, its usual value representation, its `Kind`."""

    keyword: str
    vr: bytes
    kind: int


_KINDS = {
    "SpecificCharacterSet": Kind.CHARSET,
    "PixelRepresentation": Kind.SIGN,
    "LUTData": Kind.RAW,
    # a hundred kilobytes that only say in which order the slices of a mosaic were taken
    "0029,20:SIEMENS CSA HEADER": Kind.MOSAIC,
}


def _entries(table: str, parts: int) -> Iterator[list[str]]:
    for line in table.strip().splitlines():
        if not line.startswith("#"):
            for entry in line.split(" | "):
                yield entry.split(maxsplit=parts - 1)


def _number(group: int, element: int) -> int:
    """A tag as its four bytes, read as one little endian number, give it."""
    return element << 16 | group


def _public() -> Iterator[tuple[int, Wanted]]:
    for tag, vr, keyword in _entries(_PUBLIC, 3):
        kind = _KINDS.get(keyword, Kind.SEQUENCE if vr == "SQ" else Kind.VALUE)
        yield _number(int(tag[:4], 16), int(tag[4:], 16)), Wanted(keyword, vr.encode(), kind)


def _private() -> Iterator[tuple[tuple[int, str], int, Wanted]]:
    for group, low, vr, creator in _entries(_PRIVATE, 4):
        keyword = f"{group},{low}:{creator}"
        kind = _KINDS.get(keyword, Kind.SEQUENCE if vr == "SQ" else Kind.VALUE)
        entry = Wanted(keyword, vr.encode(), kind)
        yield (int(group, 16), creator), int(low, 16), entry


_OF_CREATOR: dict[tuple[int, str], dict[int, Wanted]] = {}
for _owner, _low, _entry in _private():
    _OF_CREATOR.setdefault(_owner, {})[_low] = _entry

KNOWN = dict(_public())
"""What is looked at, by tag: element in the upper half, group in the lower."""
TAGS: Mapping[str, tuple[int, int]] = {w.keyword: (tag & 0xFFFF, tag >> 16) for tag, w in KNOWN.items()}
"""Group and element of every public keyword that is kept."""

KNOWN |= {_number(0x7FE0, element): Wanted("", b"OW", Kind.PIXELS) for element in (0x0008, 0x0009, 0x0010)}
KNOWN |= {_number(0xFFFE, element): Wanted("", b"", Kind.STRAY) for element in (0xE000, 0xE0DD)}
KNOWN[_number(0xFFFE, 0xE00D)] = Wanted("", b"", Kind.END)
KNOWN |= {
    _number(group, element): Wanted("", b"LO", Kind.CREATOR)
    for group in {group for group, _ in _OF_CREATOR}
    for element in range(0x10, 0x100)
}


def reserved(group: int, high: int, creator: str) -> Mapping[int, Wanted]:
    """What is kept of the elements ``(group, high..)`` that a data set reserves for ``creator`` (PS3.5 7.8.1).

    Example:
        >>> reserved(0x0029, 0x11, "SIEMENS CSA HEADER")[0x11100029].keyword
        '0029,10:SIEMENS CSA HEADER'
    """
    found = _OF_CREATOR.get((group, creator), {})
    return {_number(group, high << 8 | low): entry for low, entry in found.items()}
