"""From a dataset's fingerprint to a plan, each decision with its reason."""

from isocenter.planner.budgeting import Work, fit_to_budget
from isocenter.planner.candidates import Candidate, candidates
from isocenter.planner.fingerprint import CaseFingerprint, Fingerprint, fingerprint
from isocenter.planner.measures import choose_features, with_constants
from isocenter.planner.rules import plan_by_rules

__all__ = [
    "Candidate",
    "CaseFingerprint",
    "Fingerprint",
    "Work",
    "candidates",
    "choose_features",
    "fingerprint",
    "fit_to_budget",
    "plan_by_rules",
    "with_constants",
]
