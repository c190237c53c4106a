"""Optimizers: each against its formula written with whole arrays, step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlpcli.nn.optimizers import SGD, AdamW

STEPS, RATE, DECAY = 7, 0.05, 0.1


def plain_sgd(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    for g in grads:
        p = p - RATE * g
    return p


def momentum(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    v = np.zeros_like(p)
    for g in grads:
        v = 0.9 * v + g
        p = p - RATE * v
    return p


def nesterov(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    v = np.zeros_like(p)
    for g in grads:
        v = 0.9 * v + g
        p = p - RATE * (g + 0.9 * v)
    return p


def adamw(p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    m, s = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
        p = p - RATE * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
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
    gradients = [rng.standard_normal(20) for _ in range(STEPS)]
    params, grads = start.astype(dtype), np.empty(20, dtype)
    optimizer = cls(params, grads, params[:10], **options)
    for gradient in gradients:
        grads[...] = gradient
        optimizer.step(RATE)
    np.testing.assert_allclose(
        params, formula(start, gradients), rtol=1e-12 if dtype == np.float64 else 1e-4
    )
    assert params.dtype == dtype


@pytest.mark.parametrize("cls", [SGD, AdamW])
def test_weight_decay_shrinks_the_weights_and_not_the_biases(cls: type) -> None:
    params, grads = np.ones(4), np.zeros(4)
    cls(params, grads, params[:3], weight_decay=DECAY).step(RATE)
    np.testing.assert_allclose(params, [1 - RATE * DECAY] * 3 + [1])
