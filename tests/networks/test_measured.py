"""Models of measured features: what scikit-learn fits, torch computes; no pickle between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, build_network
from isocenter.plan import InputSpec, NetworkSpec

INPUTS = (InputSpec(name="mr"), InputSpec(name="measured", kind="vector", channels=5))


def build(answers: int = 3, **options):
    spec = NetworkSpec(name="measured", options=options)
    return build_network(spec, INPUTS, {"classification": HeadSpec("global", answers)}).eval()


def draw(count: int = 60, answers: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(count) % answers
    x = rng.normal(size=(count, 5)) + 1.2 * rng.normal(size=(answers, 5))[y]
    return x.astype(np.float32), y.astype(np.int64)


def probabilities(network, x: np.ndarray) -> np.ndarray:
    inputs = {"mr": torch.zeros(len(x), 1, 1, 1, 1), "measured": torch.from_numpy(x).view(len(x), -1, 1, 1, 1)}
    with torch.inference_mode():
        return network(inputs, {})["classification"].softmax(1).numpy()


def test_before_a_fit_every_answer_is_as_probable() -> None:
    x, _ = draw()
    for model in ("logistic", "forest"):
        np.testing.assert_allclose(probabilities(build(model=model), x), 1 / 3, atol=1e-6)


@pytest.mark.parametrize("answers", [2, 3, 5])
def test_logistic_regression_equals_scikit_learns(answers: int) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = draw(answers=answers)
    network = build(answers, penalty=2.0)
    network.fit(x, y, exclusive=True, seed=0)
    theirs = LogisticRegression(C=0.5, class_weight="balanced", max_iter=5000).fit(x.astype(float), y)
    np.testing.assert_allclose(probabilities(network, x), theirs.predict_proba(x), atol=1e-4)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_a_forest_in_tensors_equals_scikit_learns(depth: int) -> None:
    from sklearn.ensemble import RandomForestClassifier

    x, y = draw()
    network = build(model="forest", trees=40, depth=depth)
    network.fit(x, y, exclusive=True, seed=3)
    theirs = RandomForestClassifier(40, max_depth=depth, class_weight="balanced", random_state=3).fit(x, y)
    fresh, _ = draw(200, seed=9)
    wanted = theirs.predict_proba(fresh)
    wanted = np.maximum(wanted, 1e-3) / np.maximum(wanted, 1e-3).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(network, fresh), wanted, atol=1e-6)


def test_a_penalty_is_chosen_among_the_training_cases_and_noise_asks_for_more_of_it() -> None:
    x, y = draw()
    noise = np.random.default_rng(1).permutation(y)
    size = []
    for answers in (y, noise):
        network = build()
        network.fit(x, answers, exclusive=True, seed=0)
        size.append(float(network.weight.norm()))
    assert size[1] < 0.5 * size[0]


def test_an_answer_that_never_came_is_improbable() -> None:
    x, y = draw(answers=2)
    network = build(3)
    network.fit(x, y, exclusive=True, seed=0)
    assert probabilities(network, x)[:, 2].max() < 1e-3


def test_several_answers_each_by_itself() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = draw()
    several = np.stack([y == 0, y != 1, np.ones_like(y)], 1).astype(np.int64)
    network = build(3, penalty=1.0)
    network.fit(x, several, exclusive=False, seed=0)
    inputs = {"mr": torch.zeros(len(x), 1, 1, 1, 1), "measured": torch.from_numpy(x).view(len(x), -1, 1, 1, 1)}
    share = network(inputs, {})["classification"].sigmoid().numpy()
    theirs = LogisticRegression(C=1.0, class_weight="balanced", max_iter=5000).fit(x.astype(float), several[:, 1])
    np.testing.assert_allclose(share[:, 1], theirs.predict_proba(x)[:, 1], atol=1e-4)
    assert (share[:, 2] > 0.9).all()
    with pytest.raises(PlanError, match="a forest answers exclusive questions"):
        build(3, model="forest").fit(x, several, exclusive=False, seed=0)


def test_contributions_sum_to_the_logit() -> None:
    x, y = draw()
    network = build()
    network.fit(x, y, exclusive=True, seed=0)
    inputs = {"mr": torch.zeros(len(x), 1, 1, 1, 1), "measured": torch.from_numpy(x).view(len(x), -1, 1, 1, 1)}
    parts = network.contributions(inputs)
    assert parts.shape == (60, 3, 5)
    torch.testing.assert_close(parts.sum(-1) + network.bias, network(inputs, {})["classification"])
    with pytest.raises(PlanError, match="logistic"):
        build(model="forest").contributions(inputs)


def test_everything_it_learned_is_in_its_tensors() -> None:
    x, y = draw()
    for model in ("logistic", "forest"):
        network, other = build(model=model, trees=10), build(model=model, trees=10)
        network.fit(x, y, exclusive=True, seed=0)
        other.load_state_dict(network.state_dict())
        assert np.array_equal(probabilities(network, x), probabilities(other, x))


@pytest.mark.parametrize(
    ("inputs", "heads", "said"),
    [
        (INPUTS[:1], {"classification": HeadSpec("global", 2)}, "reads numbers of the case and the plan has none"),
        (INPUTS, {"organ": HeadSpec("dense", 2)}, "answers one question about the whole case"),
    ],
)
def test_what_it_cannot_do_is_refused(inputs, heads, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        build_network(NetworkSpec(name="measured"), inputs, heads)
