"""Changes of values: keyed, pure, each doing what its name says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from isocenter.augment import IntensityChange, apply_intensity, augment_intensity, draw_intensity
from isocenter.augment import elementary as maths
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


def noise_of(key: int, shape=(2, 9, 63, 65), deviation: float = 1.0) -> np.ndarray:
    return apply_intensity(torch.zeros(shape), IntensityChange(noise=deviation, key=key)).numpy()


def test_noise_is_normal_with_the_deviation_that_was_drawn() -> None:
    assert change(torch.zeros(2, 8, 64, 64), 0.5, noise=0.6).std() == pytest.approx(0.3, rel=0.02)
    noise = np.concatenate([noise_of(key).ravel() for key in range(10)]).astype(np.float64)
    n = len(noise)  # 737 000; bounds are four deviations of each estimate
    assert abs(noise.mean()) < 4 / n**0.5
    assert noise.var() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert abs(stats.skew(noise)) < 4 * (6 / n) ** 0.5
    assert abs(stats.kurtosis(noise)) < 4 * (24 / n) ** 0.5
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert np.abs(noise).max() > 4.2


@pytest.mark.parametrize("shape", [(2, 9, 63, 65), (1, 16, 64, 64)])
def test_noise_of_neighbours_planes_and_keys_is_independent(shape) -> None:
    noise = np.stack([noise_of(key, shape).astype(np.float64) for key in (3, 4, 2**63)])
    flat = noise.reshape(-1, shape[2] * shape[3])
    half = (flat.shape[1] + 1) // 2
    pairs = {
        "channel": (noise[:, :1], noise[:, -1:]) if shape[0] > 1 else (noise[:, :, :8], noise[:, :, 8:]),
        "slice": (noise[:, :, 1:], noise[:, :, :-1]),
        "row": (noise[:, :, :, 1:], noise[:, :, :, :-1]),
        "column": (noise[..., 1:], noise[..., :-1]),
        "key": (noise[0], noise[1]),
        "distant key": (noise[1], noise[2]),
        "of one hash": (flat[:, : flat.shape[1] - half], flat[:, half:]),
    }
    for name, (a, b) in pairs.items():
        for power in (1, 2):  # values, and how large they are
            found = np.corrcoef(a.ravel() ** power, b.ravel() ** power)[0, 1]
            assert abs(found) < 5 / a.size**0.5, name


def test_noise_depends_on_key_and_place_alone() -> None:
    noise = noise_of(11, (1, 4, 30, 31))
    patch = image((1, 4, 30, 31))
    with_patch = apply_intensity(patch, IntensityChange(noise=0.5, key=11))
    torch.testing.assert_close(with_patch, patch + 0.5 * torch.from_numpy(noise), atol=1e-6, rtol=1e-6)
    np.testing.assert_array_equal(noise_of(11, (1, 2, 30, 31))[0, :2], noise[0, :2])
    assert not np.array_equal(noise_of(12, (1, 4, 30, 31)), noise)


@pytest.mark.parametrize("shape", [(1, 1, 40, 33), (2, 9, 31, 20), (1, 3, 300, 290)])
def test_values_are_the_same_bits_for_any_number_of_threads(shape) -> None:
    full = IntensityChange(0.2, 1.2, 1.3, 0.1, 1.7, 0.8, 5)
    one = apply_intensity(image(shape), full, threads=1)
    for threads in (2, 3, 5, None):
        assert torch.equal(apply_intensity(image(shape), full, threads=threads), one)


def test_the_hash_is_splitmix64() -> None:
    """The first numbers of the generator with seed 1234567, as its authors' program prints them."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(maths.hashed(np.uint64(1234567), np.uint64(k))) for k in range(5)] == known


@given(st.floats(2.0**-126, 2.0**126, width=32), st.floats(-125, 126, width=32), st.floats(0, 1, width=32))
def test_elementary_functions_agree_with_numpy(x: float, power: float, share: float) -> None:
    x, power, share = np.float32(x), np.float32(power), np.float32(share)
    assert maths.log(x) == pytest.approx(np.log(np.float64(x)), rel=3e-7, abs=3e-7)
    assert maths.log2(x) == pytest.approx(np.log2(np.float64(x)), rel=3e-7, abs=3e-7)
    assert maths.exp2(power) == pytest.approx(np.exp2(np.float64(power)), rel=3e-7)
    angle = 2 * np.pi * np.float64(share)
    np.testing.assert_allclose(maths.turn(share), (np.cos(angle), np.sin(angle)), atol=4e-7)


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


@given(shapes, st.floats(1, 4), st.integers(0, 10**6))
def test_low_resolution_is_nearest_down_and_linear_up(shape, factor: float, seed: int) -> None:
    patch = image(shape, seed)
    size = [min(n, max(2, round(n / factor))) for n in shape[2:]]
    kept = patch[:, :, np.arange(size[0]) * shape[2] // size[0]][..., np.arange(size[1]) * shape[3] // size[1]]
    expected = torch.nn.functional.interpolate(kept, size=shape[2:], mode="bilinear", align_corners=False)
    found = apply_intensity(patch, IntensityChange(low_resolution=factor))
    torch.testing.assert_close(found, expected if factor > 1 else patch, atol=1e-5, rtol=1e-5)


@given(shapes, st.floats(0.3, 3.0), st.floats(0.1, 1.9), st.floats(-1, 1), st.integers(0, 10**6))
def test_contrast_brightness_and_gamma_follow_their_formulae(shape, gamma, contrast, brightness, seed: int) -> None:
    patch = image(shape, seed)
    values = patch.numpy().astype(np.float64)
    values = (values - values.mean()) * contrast + values.mean() + brightness
    low, high = values.min(), values.max()
    if high > low and gamma != 1:
        bent = ((values - low) / (high - low)) ** gamma
        values = (bent - bent.mean()) / bent.std() * values.std() + values.mean()
    found = apply_intensity(patch, IntensityChange(contrast=contrast, brightness=brightness, gamma=gamma))
    np.testing.assert_allclose(found.numpy(), values, atol=2e-5 * max(1.0, np.abs(values).max()))


def test_changes_come_in_the_order_that_is_stated() -> None:
    patch = image((1, 3, 30, 30))
    steps = [
        IntensityChange(noise=0.2, key=9), IntensityChange(blur=1.1), IntensityChange(contrast=1.4),
        IntensityChange(brightness=0.3), IntensityChange(low_resolution=1.8), IntensityChange(gamma=1.5),
    ]  # fmt: skip
    found = apply_intensity(patch, IntensityChange(0.2, 1.1, 1.4, 0.3, 1.8, 1.5, 9))
    for step in steps:
        patch = apply_intensity(patch, step)
    torch.testing.assert_close(found, patch, atol=1e-5, rtol=1e-5)


def test_where_the_result_is_written_can_be_chosen() -> None:
    patch, bright = image(), IntensityChange(brightness=1)
    into = torch.empty_like(patch)
    assert apply_intensity(patch, bright, out=into) is into
    assert torch.equal(into, patch + 1)
    assert apply_intensity(patch, bright, out=patch) is patch
    assert torch.equal(patch, into)
    assert apply_intensity(image().double().flip(3), bright).dtype == torch.float32


def test_draws_stay_within_their_ranges_and_happen_as_often_as_asked() -> None:
    spec = FULL.model_copy(update={"intensity_probability": 0.3})
    drawn = [draw_intensity(np.random.default_rng(seed), spec) for seed in range(400)]
    ranges = {
        "noise": (0, 0.3, 0), "blur": (0, 1.5, 0), "contrast": (0.6, 1.4, 1), "brightness": (-0.5, 0.5, 0),
        "low_resolution": (1, 3, 1), "gamma": (np.exp(-0.6), np.exp(0.6), 1),
    }  # fmt: skip
    for name, (low, high, none) in ranges.items():
        values = np.array([getattr(d, name) for d in drawn])
        assert ((values >= low) & (values <= high)).all()
        assert 0.2 < (values != none).mean() < 0.4
    assert len({d.key for d in drawn}) == 400


@pytest.mark.parametrize("amount", [-1.0, 0.7])
def test_gamma_keeps_mean_deviation_and_order(amount: float) -> None:
    patch = image()
    bent = change(patch, amount, gamma=0.5)
    assert float(bent.mean()) == pytest.approx(float(patch.mean()), abs=1e-4)
    assert float(bent.std()) == pytest.approx(float(patch.std()), rel=1e-3)
    order = patch.ravel().argsort()
    assert (bent.ravel()[order].diff() >= -1e-5).all()
    assert not torch.allclose(bent, patch, atol=0.01)
