"""Why a gradient is wrong: hypotheses, tried against a second, plain backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlpcli.gradcheck.numerical import relative_error
from mlpcli.gradcheck.reference import Array, backward, forward, loss_slopes
from mlpcli.nn.model import Model

CLOSE = 1e-6  # relative error, normwise, below which two gradients are the same
WRONG = 1e-9  # of the largest entry: an entry that differs by more is a wrong one


class Diagnosis:
    """The hypotheses about one model and batch."""

    def __init__(self, model: Model, X: Array, Y: Array) -> None:
        self.examples, self.batch_size, network = len(X), model.batch_size, model.network
        done = forward(network, X)
        G = loss_slopes(type(model.criterion), done.T[-1], Y)
        self.right = backward(network, done, G)
        self.underived = backward(network, done, G, derivative=False)
        self.transposed = backward(network, done, G, transposed=True)

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
        n, buffer = self.examples, self.batch_size
        if np.isclose(factor, 1):
            return "a second backward pass agrees with it: the forward pass is not analytic"
        if np.isclose(factor, -1):
            return "the sign is flipped: Y − Ŷ in place of Ŷ − Y"
        if np.isclose(factor, n):
            return f"a factor n = {n}: the mean over the batch is missing"
        if np.isclose(factor, 1 / n):
            return f"a factor 1/n = 1/{n}: the mean over the batch is taken twice"
        if np.isclose(factor, n / buffer):
            return f"a factor {n}/{buffer}: divided by the buffer's examples, not the batch's"
        return f"a factor {factor:.6g}"


def _where(gradient: Array, right: Array) -> str:
    """Say where a gradient differs from the right one."""
    difference = np.abs(gradient - right)
    wrong = np.argwhere(difference > WRONG * np.abs(right).max())
    if len(wrong) == 1:
        at = tuple(wrong[0])
        return (
            f"one entry of {gradient.size} is wrong: {_index(at)} is {gradient[at]:.6g}, "
            f"should be {right[at]:.6g}"
        )
    if gradient.ndim == 2:
        for axis, kind in enumerate(("row", "column")):
            if len(np.unique(wrong[:, axis])) == 1:
                return f"{kind} {wrong[0][axis]} alone is wrong"
    return f"unknown: {len(wrong)} of {gradient.size} entries are wrong"


def _index(at: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in at)}]"
