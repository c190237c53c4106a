"""Optimizers: each against its formula written with whole arrays, step by step."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest

from mlpcli.config.settings import AdamWConfig, SGDConfig
from mlpcli.nn.optimizers import OPTIMIZERS, SGD, AdamW

RATES, DECAY = [0.05, 0.04, 0.06, 0.02, 0.01, 0.03, 0.005], 0.7
WEIGHTS = np.arange(20) < 10  # of 20 parameters; the others are biases


def decayed(p: np.ndarray, rate: float) -> np.ndarray:
    return p * (1 - WEIGHTS * rate * DECAY)


def plain_sgd(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    for rate, g in zip(RATES, grads, strict=True):
        p = decayed(p, rate) - rate * g
    return p


def momentum(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    v = np.zeros_like(p)
    for rate, g in zip(RATES, grads, strict=True):
        v = 0.9 * v + g
        p = decayed(p, rate) - rate * v
    return p


def nesterov(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    v = np.zeros_like(p)
    for rate, g in zip(RATES, grads, strict=True):
        v = 0.9 * v + g
        p = decayed(p, rate) - rate * (g + 0.9 * v)
    return p


def adamw(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    m, s = np.zeros_like(p), np.zeros_like(p)
    for t, (rate, g) in enumerate(zip(RATES, grads, strict=True), start=1):
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
        step = (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
        p = decayed(p, rate) - rate * step
    return p


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("formula", "cls", "options"),
    [
        (plain_sgd, SGD, {}),
        (momentum, SGD, {"momentum": 0.9}),
        (nesterov, SGD, {"momentum": 0.9, "nesterov": True}),
        (adamw, AdamW, {}),
    ],
)
def test_an_optimizer_follows_its_formula(
    formula: Callable[..., np.ndarray], cls: type, options: dict[str, object], dtype: type
) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal(20)
    gradients = [rng.standard_normal(20) for _ in RATES]
    params, grads = start.astype(dtype), np.empty(20, dtype)
    optimizer = cls(params, grads, params[:10], weight_decay=DECAY, **options)
    for rate, gradient in zip(RATES, gradients, strict=True):
        grads[...] = gradient
        optimizer.step(rate)
    np.testing.assert_allclose(
        params, formula(start, gradients), rtol=1e-12 if dtype == np.float64 else 1e-4
    )
    assert params.dtype == dtype


def test_the_decay_of_a_step_has_the_rate_of_that_step_and_comes_first() -> None:
    """From 1, at gradient 1: (1 − ηλ) − η, then (1 − ηλ/2)p − η/2; a bias moves by η alone."""
    params, grads = np.ones(2), np.empty(2)
    optimizer = SGD(params, grads, params[:1], weight_decay=0.5)
    for rate, expected in ((0.2, [0.7, 0.8]), (0.1, [0.565, 0.7])):
        grads[...] = 1
        optimizer.step(rate)
        np.testing.assert_allclose(params, expected, rtol=1e-14)


def test_a_step_of_adamw_in_float32_rounds_each_operation_to_float32() -> None:
    """A factor of another type would have the arithmetic done in float64."""
    rng = np.random.default_rng(0)
    p, *gradients = rng.standard_normal((4, 1000)).astype(np.float32)
    m = s = np.zeros(1000, np.float32)
    params, grads = p.copy(), np.empty_like(p)
    optimizer = AdamW(params, grads, params[:0])
    for t, g in enumerate(gradients, start=1):
        grads[...] = g
        optimizer.step(0.01)
        m, s = m * 0.9 + g * (1 - 0.9), s * 0.999 + g * g * (1 - 0.999)
        root = np.sqrt(s * (1 / (1 - 0.999**t))) + 1e-8
        p = p - m / root * (0.01 / (1 - 0.9**t))
        np.testing.assert_array_equal(params, p)


def test_a_state_holds_what_a_resumed_run_needs_and_no_more() -> None:
    params = np.ones(3)
    kinds = [(SGD, {}), (SGD, {"momentum": 0.5}), (AdamW, {})]
    states = [cls(params, params.copy(), params, **options).state for cls, options in kinds]
    assert [list(state) for state in states] == [
        [],
        ["velocity"],
        ["first_moment", "second_moment", "steps"],
    ]


@pytest.mark.parametrize("config", [SGDConfig(), AdamWConfig()])
def test_the_defaults_are_those_of_a_configuration(config: SGDConfig | AdamWConfig) -> None:
    taken = inspect.signature(OPTIMIZERS[config.name]).parameters
    assert {name: taken[name].default for name in config.options()} == config.options()
