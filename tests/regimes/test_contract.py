"""Regimes are found by name, their options are checked, and others may be installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from isocenter.errors import ConfigError, PlanError
from isocenter.plan import registry
from isocenter.regimes import CrossValidation, build_regime, regime, regimes


def test_a_regime_is_built_by_its_name() -> None:
    assert build_regime("cross-validation", folds=3, seed=4) == CrossValidation(folds=3, seed=4)
    assert "cross-validation" in regimes


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(PlanError, match=r"no regime 'cross-validate' .did you mean 'cross-validation'"):
        build_regime("cross-validate")
    with pytest.raises(ConfigError, match=r"regime 'cross-validation'.*'fold'.*its options are folds, seed"):
        build_regime("cross-validation", fold=3)


def test_an_installed_regime_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once:
        pass

    point = EntryPoint("once-elsewhere", "somewhere:Once", "isocenter.regimes")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Once)
    monkeypatch.setattr(registry, "entry_points", lambda **given: [point] if given["group"] == point.group else [])
    assert isinstance(build_regime("once-elsewhere"), Once)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(PlanError, match="'cross-validation' is already registered"):
        regime("cross-validation")(type("Other", (), {}))
