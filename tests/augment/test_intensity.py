"""Changes of values: keyed, pure, each doing what its name says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from isocenter.augment import augment_intensity
from isocenter.plan import AugmentationSpec

FULL = AugmentationSpec(
    brightness=0.5, contrast=0.4, gamma=0.6, noise=0.3, blur=1.5, low_resolution=3, intensity_probability=1
)
shapes = st.tuples(st.integers(1, 2), *[st.integers(1, 9)] * 3)


def image(shape=(1, 4, 24, 24), seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Drawn:
    """Stands in for a generator: every change happens, by a chosen amount."""

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def random(self, n: int) -> np.ndarray:
        return np.zeros(n)

    def uniform(self, low: float, high: float, n: int) -> np.ndarray:
        return np.full(n, self.amount)

    def integers(self, high: int) -> int:
        return 5


def change(patch: torch.Tensor, amount: float = 1.0, **settings) -> torch.Tensor:
    return augment_intensity(patch, AugmentationSpec(intensity_probability=1, **settings), Drawn(amount))


@given(shapes, st.integers(0, 10**6), st.sampled_from(["noise", "flat", "steps"]))
def test_shape_stays_values_are_finite_and_the_input_is_untouched(shape, seed: int, kind: str) -> None:
    patch = {"noise": image(shape, seed), "flat": torch.full(shape, 2.5), "steps": image(shape, seed).round()}[kind]
    before = patch.clone()
    found = augment_intensity(patch, FULL, np.random.default_rng(seed))
    assert found.shape == patch.shape
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert torch.equal(patch, before)


@given(st.integers(0, 10**6))
def test_values_follow_their_key(seed: int) -> None:
    first, again = (augment_intensity(image(), FULL, np.random.default_rng(seed)) for _ in range(2))
    assert torch.equal(first, again)
    other = augment_intensity(image(), FULL, np.random.default_rng(seed + 1))
    assert not torch.equal(first, other)


@given(st.integers(0, 10**6))
def test_nothing_asked_for_changes_nothing(seed: int) -> None:
    patch = image()
    assert torch.equal(
        augment_intensity(patch, AugmentationSpec(intensity_probability=1), np.random.default_rng(seed)), patch
    )
    never = FULL.model_copy(update={"intensity_probability": 0.0})
    assert torch.equal(augment_intensity(patch, never, np.random.default_rng(seed)), patch)


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "noise", "blur", "low_resolution"])
def test_later_draws_do_not_depend_on_what_is_switched_on(name: str) -> None:
    with_one, with_all = np.random.default_rng(1), np.random.default_rng(1)
    augment_intensity(image(), AugmentationSpec(**{name: getattr(FULL, name)}), with_one)
    augment_intensity(image(), FULL, with_all)
    assert with_one.random() == with_all.random()


@pytest.mark.parametrize("amount", [-1.0, -0.3, 0.5, 1.0])
def test_brightness_adds_and_contrast_stretches_about_the_mean(amount: float) -> None:
    patch = image()
    torch.testing.assert_close(change(patch, amount, brightness=0.4), patch + amount * 0.4)
    stretched = change(patch, amount, contrast=0.4)
    assert float(stretched.mean()) == pytest.approx(float(patch.mean()), abs=1e-5)
    assert float(stretched.std() / patch.std()) == pytest.approx(1 + amount * 0.4, rel=1e-4)


def test_noise_has_the_deviation_that_was_drawn_and_is_not_a_pattern() -> None:
    patch = torch.zeros(2, 8, 64, 64)
    noise = change(patch, 0.5, noise=0.6)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[0, :, :, 1:].ravel(), noise[0, :, :, :-1].ravel())[0, 1]) < 0.02


def test_blur_is_a_gaussian_in_the_plane() -> None:
    patch = image((1, 3, 40, 40))
    found = change(patch, 0.8, blur=1.5)[0].numpy()
    expected = ndimage.gaussian_filter(patch[0].numpy(), (0, 1.2, 1.2), mode="mirror", truncate=3)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_low_resolution_takes_detail_and_keeps_the_rest() -> None:
    smooth = torch.from_numpy(ndimage.gaussian_filter(image((1, 2, 60, 60))[0].numpy(), (0, 6, 6)))[None] * 10
    detail = torch.from_numpy(np.indices((60, 60)).sum(0) % 2 * 2.0 - 1).float().expand(1, 2, 60, 60)
    coarse = change(smooth, 1.0, low_resolution=2)
    assert np.corrcoef(coarse.ravel(), smooth.ravel())[0, 1] > 0.99
    ringing = change(detail, 0.5, low_resolution=2)
    assert float(ringing.std()) < 0.8 * float(detail.std())
    assert torch.equal(change(smooth, 1.0, low_resolution=1), smooth)


@pytest.mark.parametrize("amount", [-1.0, 0.7])
def test_gamma_keeps_mean_deviation_and_order(amount: float) -> None:
    patch = image()
    bent = change(patch, amount, gamma=0.5)
    assert float(bent.mean()) == pytest.approx(float(patch.mean()), abs=1e-4)
    assert float(bent.std()) == pytest.approx(float(patch.std()), rel=1e-3)
    order = patch.ravel().argsort()
    assert (bent.ravel()[order].diff() >= -1e-5).all()
    assert not torch.allclose(bent, patch, atol=0.01)
