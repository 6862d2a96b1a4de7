"""Models of measured features: what scikit-learn fits, torch computes; no pickle between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, build_network
from isocenter.plan import InputSpec, NetworkSpec

MODELS = ("logistic", "forest", "boosted")
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
    for model in MODELS:
        np.testing.assert_allclose(probabilities(build(model=model), x), 1 / 3, atol=1e-6)


@pytest.mark.parametrize("answers", [2, 3, 5])
def test_logistic_regression_equals_scikit_learns(answers: int) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = draw(answers=answers)
    network = build(answers, penalty=2.0, calibrate=False)
    network.fit(x, y, exclusive=True, seed=0)
    theirs = LogisticRegression(C=0.5, class_weight="balanced", max_iter=5000).fit(x.astype(float), y)
    np.testing.assert_allclose(probabilities(network, x), theirs.predict_proba(x), atol=1e-4)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_a_forest_in_tensors_equals_scikit_learns(depth: int) -> None:
    from sklearn.ensemble import RandomForestClassifier

    x, y = draw()
    network = build(model="forest", trees=40, depth=depth, calibrate=False)
    network.fit(x, y, exclusive=True, seed=3)
    theirs = RandomForestClassifier(40, max_depth=depth, class_weight="balanced", random_state=3).fit(x, y)
    fresh, _ = draw(200, seed=9)
    wanted = theirs.predict_proba(fresh)
    wanted = np.maximum(wanted, 1e-3) / np.maximum(wanted, 1e-3).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(network, fresh), wanted, atol=1e-6)


@pytest.mark.parametrize("answers", [2, 3])
def test_boosted_trees_in_tensors_equal_scikit_learns(answers: int) -> None:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.utils.class_weight import compute_sample_weight

    x, y = draw(answers=answers)
    x, y = x[:-7], y[:-7]  # classes of different size
    network = build(answers, model="boosted", trees=15, depth=3, calibrate=False)
    network.fit(x, y, exclusive=True, seed=3)
    theirs = GradientBoostingClassifier(n_estimators=15, max_depth=3, random_state=3)
    theirs.fit(x, y, sample_weight=compute_sample_weight("balanced", y))
    fresh, _ = draw(200, seed=9)
    np.testing.assert_allclose(probabilities(network, fresh), theirs.predict_proba(fresh), atol=1e-6)


def test_boosted_trees_know_answers_that_never_came() -> None:
    x, y = draw(answers=2)
    network = build(4, model="boosted", trees=5, depth=2)
    network.fit(x, y + 1, exclusive=True, seed=0)
    share = probabilities(network, x)
    assert share[:, [0, 3]].max() < 1e-3
    assert (share.argmax(1) == y + 1).mean() > 0.8
    network.fit(x, np.full_like(y, 2), exclusive=True, seed=0)
    assert probabilities(network, x)[:, 2].min() > 0.99


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
    network = build(3, penalty=1.0, calibrate=False)
    network.fit(x, several, exclusive=False, seed=0)
    inputs = {"mr": torch.zeros(len(x), 1, 1, 1, 1), "measured": torch.from_numpy(x).view(len(x), -1, 1, 1, 1)}
    share = network(inputs, {})["classification"].sigmoid().numpy()
    theirs = LogisticRegression(C=1.0, class_weight="balanced", max_iter=5000).fit(x.astype(float), several[:, 1])
    np.testing.assert_allclose(share[:, 1], theirs.predict_proba(x)[:, 1], atol=1e-4)
    assert (share[:, 2] > 0.9).all()
    with pytest.raises(PlanError, match="'forest' answers exclusive questions; take model 'logistic'"):
        build(3, model="forest").fit(x, several, exclusive=False, seed=0)


@pytest.mark.parametrize("model", MODELS)
def test_a_cross_fitted_temperature_makes_new_cases_more_probable(model: str) -> None:
    """Against the truth that cases were drawn from: more cases than any model here could learn by heart."""
    rng = np.random.default_rng(5)
    x, fresh = (rng.normal(size=(count, 5)).astype(np.float32) for count in (40, 2000))
    truth = rng.normal(size=(3, 5)) * 0.7

    def answer(values: np.ndarray) -> np.ndarray:
        return (values @ truth.T + rng.gumbel(size=(len(values), 3))).argmax(1)

    y, asked = answer(x), answer(fresh)
    surprise = []
    for calibrate in (False, True):
        network = build(model=model, trees=40, penalty=0.01, calibrate=calibrate)
        network.fit(x, y, exclusive=True, seed=0)
        surprise.append(-np.log(probabilities(network, fresh)[np.arange(len(asked)), asked]).mean())
    assert surprise[1] < surprise[0]
    assert 0.25 <= float(network.temperature) <= 4


def test_few_cases_are_fitted_without_a_temperature() -> None:
    x, y = draw(4)
    network = build()
    network.fit(x, y, exclusive=True, seed=0)
    assert float(network.temperature) == 1


def inputs_of(x: np.ndarray) -> dict[str, torch.Tensor]:
    return {"mr": torch.zeros(len(x), 1, 1, 1, 1), "measured": torch.from_numpy(x).view(len(x), -1, 1, 1, 1)}


def test_contributions_of_a_regression_sum_to_the_logit() -> None:
    x, y = draw()
    network = build()
    network.fit(x, y, exclusive=True, seed=0)
    parts = network.contributions(inputs_of(x))
    assert parts.shape == (60, 3, 5)
    told = network(inputs_of(x), {})["classification"]
    torch.testing.assert_close(parts.sum(-1) + network.bias / network.temperature, told)


def by_orders(trees, x: np.ndarray, features: int) -> np.ndarray:
    """Shapley values from their definition: every order of features, every tree walked for every set of known ones."""

    def walk(tree, node: int, known: frozenset[int]) -> np.ndarray:
        yes, no = tree.children_left[node], tree.children_right[node]
        if yes < 0:
            return tree.value[node][0] / tree.value[node][0].sum()
        if tree.feature[node] in known:
            return walk(tree, yes if x[tree.feature[node]] <= tree.threshold[node] else no, known)
        came = tree.weighted_n_node_samples
        return (came[yes] * walk(tree, yes, known) + came[no] * walk(tree, no, known)) / came[node]

    def worth(known: frozenset[int]) -> np.ndarray:
        return np.mean([walk(t.tree_, 0, known) for t in trees], 0)

    found = np.zeros((len(worth(frozenset())), features))
    orders = list(itertools.permutations(range(features)))
    for order in orders:
        for k, feature in enumerate(order):
            found[:, feature] += worth(frozenset(order[: k + 1])) - worth(frozenset(order[:k]))
    return found / len(orders)


@pytest.mark.parametrize("depth", [1, 4])
def test_contributions_of_a_forest_are_shapley_values(depth: int) -> None:
    from sklearn.ensemble import RandomForestClassifier

    x, y = draw(30)
    network = build(model="forest", trees=3, depth=depth)
    network.fit(x, y, exclusive=True, seed=3)
    forest = RandomForestClassifier(3, max_depth=depth, class_weight="balanced", random_state=3).fit(x, y)
    fresh, _ = draw(2, seed=9)
    parts = network.contributions(inputs_of(fresh)).numpy()
    for case, found in zip(fresh, parts, strict=True):
        np.testing.assert_allclose(found, by_orders(forest.estimators_, case, 5), atol=1e-6)


def test_contributions_of_boosted_trees_tell_cases_apart_as_their_logits_do() -> None:
    x, y = draw()
    network = build(model="boosted", trees=10, depth=3)
    network.fit(x, y, exclusive=True, seed=3)
    some = inputs_of(x[:6])
    gap = network.contributions(some).sum(-1) - network(some, {})["classification"]
    torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-4, rtol=0)


def test_everything_it_learned_is_in_its_tensors() -> None:
    x, y = draw()
    for model in MODELS:
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
