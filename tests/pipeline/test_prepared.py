"""What preparing gives is frozen in prepared.json: caches of an older version of the code must not be taken for new.

After an intended change raise `PREPARED` in isocenter/pipeline/keys.py, then run
python -m tests.pipeline.test_prepared --update
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tests.pipeline.test_cached import PLANS, case_of

from isocenter.pipeline import Pipeline
from isocenter.pipeline.keys import PREPARED

FROZEN = Path(__file__).with_name("prepared.json")
TOLERANCE = 2e-3  # other processors and versions of numpy round otherwise; a changed method does more


def figures() -> dict[str, Any]:
    """By plan and array: its shape, then mean, deviation and some voxels."""
    found: dict[str, Any] = {}
    for name, plan in PLANS.items():
        pipeline = Pipeline(plan)
        sample = pipeline.prepare(case_of("a", pet=True), targets=True)
        arrays = {f"inputs/{k}": t.numpy() for k, t in sample.inputs.items()}
        arrays |= {f"targets/{k}": t.numpy() for k, t in sample.targets.items()}
        arrays |= {f"sites/{k}": v for k, v in pipeline.task.sites(sample.targets).items()}
        for label, array in arrays.items():
            values = array.astype(np.float64).ravel()
            some = values[np.linspace(0, values.size - 1, min(8, values.size)).astype(int)] if values.size else values
            facts = [*(round(float(v), 5) for v in ([values.mean(), values.std(), *some] if values.size else ()))]
            found[f"{name}: {label}"] = {"shape": list(array.shape), "figures": facts}
    return found


def test_a_change_of_what_preparing_gives_is_noticed() -> None:
    frozen, now = json.loads(FROZEN.read_text(encoding="utf-8")), figures()
    remedy = "run `python -m tests.pipeline.test_prepared --update`"
    assert frozen["prepared"] == PREPARED, remedy
    assert sorted(frozen["arrays"]) == sorted(now), f"other arrays; raise PREPARED in pipeline/keys.py and {remedy}"
    changed = [
        name
        for name, was in frozen["arrays"].items()
        if was["shape"] != now[name]["shape"]
        or not np.allclose(was["figures"], now[name]["figures"], rtol=TOLERANCE, atol=TOLERANCE)
    ]
    assert changed == [], f"cases are prepared otherwise than before: raise PREPARED in pipeline/keys.py and {remedy}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        raise SystemExit(__doc__)
    text = json.dumps({"prepared": PREPARED, "arrays": figures()}, indent=1)
    FROZEN.write_text(text + "\n", encoding="utf-8")
