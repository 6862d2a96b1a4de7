"""Files in and out: NIfTI, DICOM, tables. What is read is right in place and value, or refused by name."""
