"""From a dataset's fingerprint to a plan, each decision with its reason."""

from isocenter.planner.fingerprint import CaseFingerprint, Fingerprint, fingerprint
from isocenter.planner.rules import plan_by_rules

__all__ = ["CaseFingerprint", "Fingerprint", "fingerprint", "plan_by_rules"]
