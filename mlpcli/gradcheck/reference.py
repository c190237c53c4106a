"""A second, plain backward pass: what a wrong gradient is compared with, and how rounding spreads.

It shares no line with the pass that trains: derivatives of losses and activations come from the
complex step, so it needs no formula and serves every loss and activation. The tests compare it with
the complex step through the whole network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.losses import Loss
from mlpcli.nn.model import Model
from mlpcli.nn.network import Network

Array = NDArray[np.float64]
Gradients = dict[str, Array]
STEP = 1e-30
NOISE = 1e-8  # far above the precision of float64, and so small that it acts linearly
SAMPLES = 8


@dataclass(frozen=True)
class Forward:
    """A forward pass, by layer: inputs Z, pre-activations T, and the slopes a′(T) but the last."""

    Z: list[Array]
    T: list[Array]
    slopes: list[Array]


def forward(network: Network, X: Array, rng: np.random.Generator | None = None) -> Forward:
    """Return the forward pass of inputs X (n, D); with `rng`, one with noise in every result."""
    P, depth = network.named_params, len(network.layer_sizes) - 1
    activation, done = ACTIVATIONS[network.activation], Forward([X], [], [])
    for i in range(1, depth + 1):
        Z, W, b = done.Z[-1], P[f"W{i}"], P[f"b{i}"]
        T = Z @ W + b
        if rng:
            T += _noise(np.sqrt(np.square(Z) @ np.square(W) + np.square(b)), rng)
        done.T.append(T)
        if i < depth:
            stepped = activation(len(T), T.shape[1], np.complex128).forward(T + 1j * STEP)
            Z, slopes = stepped.real.copy(), stepped.imag / STEP
            if rng:
                values, derivatives = term_sizes(network.activation, T, Z)
                Z += _noise(values, rng)
                slopes += _noise(derivatives, rng)
            done.Z.append(Z)
            done.slopes.append(slopes)
    return done


def backward(
    network: Network,
    done: Forward,
    G: Array,
    *,
    derivative: bool = True,
    transposed: bool = False,
    rng: np.random.Generator | None = None,
) -> Gradients:
    """Return the gradient of each tensor from G = dL/dT of the logits, as plainly as can be.

    Without `derivative`, as if σ′ were forgotten; `transposed`, as if W were read for Wᵀ; with
    `rng`, with noise in every result.
    """
    gradients: Gradients = {}
    for i in range(len(done.T), 0, -1):
        gradients[f"W{i}"] = done.Z[i - 1].T @ G
        gradients[f"b{i}"] = G.sum(axis=0)
        if i > 1:
            W = network.named_params[f"W{i}"]
            back = W.reshape(W.shape[::-1]) if transposed else W.T
            noise = _noise(np.sqrt(np.square(G) @ np.square(back)), rng) if rng else 0.0
            G = G @ back + noise
            if derivative:
                G = G * done.slopes[i - 2]
    return gradients


def rounding(model: Model, X: Array, Y: Array, rng: np.random.Generator) -> Gradients:
    """Return, entry by entry, the rounding error of a right gradient in units of the precision.

    Every intermediate result gets noise of the size of its rounding error, but `NOISE` in place of
    the precision: the root mean square of what this changes.
    """
    network, n = model.network, len(X)
    criterion = type(model.criterion)(n, network.layer_sizes[-1], np.float64)

    def gradients(rng: np.random.Generator | None) -> Gradients:
        done = forward(network, X, rng)
        G = criterion.backward(done.T[-1], Y)
        if rng:
            G += _noise(np.full_like(G, 1 / n), rng)  # a probability near 0 or 1 is rounded as 1 is
        return backward(network, done, G, rng=rng)

    exact = gradients(None)
    squares = {name: np.zeros_like(gradient) for name, gradient in exact.items()}
    for _ in range(SAMPLES):
        for name, noisy in gradients(rng).items():
            squares[name] += np.square((noisy - exact[name]) / NOISE)
    return {name: np.sqrt(total / SAMPLES) for name, total in squares.items()}


def _noise(size: Array, rng: np.random.Generator) -> Array:
    return NOISE * size * rng.standard_normal(size.shape)


def term_sizes(activation: str, T: Array, Z: Array) -> tuple[Array, Array]:
    """Return the size of what a(T) and a′(T) are summed from, even where they come to nearly 0."""
    size = np.abs(T)
    if activation == "gelu":  # t/2 times 1 + tanh; about t³/20 times 1 − tanh², until that is 0
        size = np.minimum(size, 8)
        return np.maximum(np.abs(Z), size / 2), np.maximum(size**3 / 16, 1)
    return np.maximum(Z, np.minimum(size, 1)), np.ones_like(T)  # as σ = ½ tanh + ½


def loss_slopes(loss: type[Loss], T: Array, Y: Array) -> Array:
    """Return dL/dT (B, K) of logits T for targets Y, entry by entry."""
    in_complex, G = loss(1, T.shape[1], np.complex128), np.empty_like(T)
    for i, k in np.ndindex(*T.shape):
        stepped = T[i : i + 1].astype(np.complex128)
        stepped[0, k] += 1j * STEP
        G[i, k] = in_complex.forward(stepped, Y[i : i + 1]).imag / STEP / len(T)
    return G
