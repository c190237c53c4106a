"""Why a gradient is wrong: hypotheses, tried against a second, plain backward pass.

The second pass shares no line with the first: its derivatives of loss and activation come from
the complex step, so it needs no formula and serves every loss and activation. The tests compare it
with the complex step through the whole network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.gradcheck.numerical import relative_error
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.layers import Dense
from mlpcli.nn.losses import Loss
from mlpcli.nn.model import Model
from mlpcli.nn.network import Network

Array = NDArray[np.float64]
Gradients = dict[str, Array]
STEP = 1e-30
CLOSE = 1e-6  # relative error, normwise, below which two gradients are the same


class Diagnosis:
    """The hypotheses about one model and batch."""

    def __init__(self, model: Model, X: Array, Y: Array) -> None:
        self.batch_size, network = len(X), model.network
        G = loss_slopes(type(model.criterion), model.forward(X).copy(), Y)
        self.right = reference_gradients(network, X, G)
        self.underived = reference_gradients(network, X, G, derivative=False)
        self.transposed = reference_gradients(network, X, G, transposed=True)

    def explain(self, name: str, gradient: Array) -> str:  # noqa: PLR0911 - one per hypothesis
        """Return the likely reason why the gradient of a tensor is wrong."""
        right = self.right[name]
        if not np.isfinite(gradient).all():
            wrong = np.argwhere(~np.isfinite(gradient))
            return f"{len(wrong)} entries are not finite, the first at {_index(wrong[0])}"
        if not gradient.any():
            return "the bias gradient is missing" if name[0] == "b" else "it is zero throughout"
        factor = float(np.vdot(gradient, right) / np.vdot(right, right)) if right.any() else 0.0
        if relative_error(gradient, factor * right) < CLOSE:
            return self._factor(factor)
        if relative_error(gradient, self.underived[name]) < CLOSE:
            return "the activation's derivative is missing"
        if relative_error(gradient, self.transposed[name]) < CLOSE:
            return "an error was sent back through a weight matrix that is not transposed"
        if relative_error(gradient.ravel(), right.T.ravel()) < CLOSE:
            return "it is transposed"
        return _where(gradient, right)

    def _factor(self, factor: float) -> str:
        n = self.batch_size
        if np.isclose(factor, 1):
            return "a second backward pass agrees with it: the forward pass is not analytic"
        if np.isclose(factor, -1):
            return "the sign is flipped: Y − Ŷ in place of Ŷ − Y"
        if np.isclose(factor, n):
            return f"a factor n = {n}: the mean over the batch is missing"
        if np.isclose(factor, 1 / n):
            return f"a factor 1/n = 1/{n}: the mean over the batch is taken twice"
        return f"a factor {factor:.6g}"


def _where(gradient: Array, right: Array) -> str:
    """Say where a gradient differs from the right one."""
    difference = np.abs(gradient - right)
    wrong = np.argwhere(difference > CLOSE * np.abs(right).max() * 1e-3)
    if not len(wrong):
        return "unknown"
    if len(wrong) == 1:
        at = tuple(wrong[0])
        return (
            f"one entry of {gradient.size} is wrong: {_index(at)} is {gradient[at]:.6g}, "
            f"should be {right[at]:.6g}"
        )
    for axis, kind in enumerate(("row", "column")[: gradient.ndim]):
        if gradient.ndim == 2 and len(np.unique(wrong[:, axis])) == 1:
            return f"{kind} {wrong[0][axis]} alone is wrong"
    return f"unknown: {len(wrong)} of {gradient.size} entries are wrong"


def _index(at: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in at)}]"


def reference_gradients(
    network: Network, X: Array, G: Array, *, derivative: bool = True, transposed: bool = False
) -> Gradients:
    """Return the gradient of each tensor from G = dL/dT of the logits, as plainly as can be.

    Without `derivative`, as if σ′ were forgotten; `transposed`, as if W were read for Wᵀ.
    """
    P, depth = network.named_params, len(network.layer_sizes) - 1
    activation = ACTIVATIONS[network.activation]
    Z, slopes = [X], []
    for i in range(1, depth):
        T = (Z[-1] @ P[f"W{i}"] + P[f"b{i}"]).astype(np.complex128)
        stepped = activation(len(T), T.shape[1], np.complex128).forward(T + 1j * STEP)
        Z.append(stepped.real.copy())
        slopes.append(stepped.imag / STEP)  # a′(T)

    gradients: Gradients = {}
    for i in range(depth, 0, -1):
        gradients[f"W{i}"] = Z[i - 1].T @ G
        gradients[f"b{i}"] = G.sum(axis=0)
        if i > 1:
            W = P[f"W{i}"]
            G = G @ (W.reshape(W.shape[::-1]) if transposed else W.T)
            if derivative:
                G = G * slopes[i - 2]
    return gradients


def magnitudes(model: Model, X: Array) -> Gradients:
    """Return, entry by entry, the size of what a gradient is summed from, whatever cancels in it.

    Each error at the output counts as 1/n, each a′ as 1, and each hidden unit as 1 at least, for a
    σ near 0 is rounded as one near 1 is. Times the precision of a dtype, that is the rounding which
    no gradient in this dtype can be without.
    """
    network = model.network
    P, depth = network.named_params, len(network.layer_sizes) - 1
    network.forward(X)
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    Z = [np.abs(X), *(np.maximum(np.abs(layer.X), 1) for layer in dense[1:])]
    G = np.full((len(X), network.layer_sizes[-1]), 1 / len(X))
    sizes: Gradients = {}
    for i in range(depth, 0, -1):
        sizes[f"W{i}"], sizes[f"b{i}"] = Z[i - 1].T @ G, G.sum(axis=0)
        G = G @ np.abs(P[f"W{i}"]).T
    return sizes


def loss_slopes(loss: type[Loss], T: Array, Y: Array) -> Array:
    """Return dL/dT (B, K) of logits T for targets Y, entry by entry."""
    in_complex, G = loss(len(T), T.shape[1], np.complex128), np.empty_like(T)
    for index in np.ndindex(*T.shape):
        stepped = T.astype(np.complex128)
        stepped[index] += 1j * STEP
        G[index] = in_complex.forward(stepped, Y).imag / STEP
    return G
