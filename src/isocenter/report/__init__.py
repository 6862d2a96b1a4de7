"""From a prediction to what a person or another program reads: findings, ``findings.json``, ``report.html``."""

from isocenter.report.document import findings_json
from isocenter.report.findings import findings_of, flags_of
from isocenter.report.html import write_report

__all__ = ["findings_json", "findings_of", "flags_of", "write_report"]
