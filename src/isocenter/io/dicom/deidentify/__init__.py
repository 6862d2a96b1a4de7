"""De-identification by PS3.15 Annex E: the Basic Application Level Confidentiality Profile and its options.

Example:
    >>> from isocenter.io.dicom.deidentify.table import rows
    >>> len(rows()), DeidentifyOptions(keep_device=True).method_codes[-1][0]
    (656, '113109')
"""

from isocenter.io.dicom.deidentify.keys import Secret, new_secret_file, read_secret
from isocenter.io.dicom.deidentify.options import DeidentifyOptions
from isocenter.io.dicom.deidentify.table import EDITION

__all__ = ["EDITION", "DeidentifyOptions", "Secret", "new_secret_file", "read_secret"]
