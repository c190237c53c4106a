"""Optimizers: they move one flat vector by another and know nothing of layers.

Weight decay is decoupled (Loshchilov & Hutter 2019): before each step the weights, not the biases,
are multiplied by 1 − learning_rate · weight_decay; for plain SGD that is an L2 penalty.
A step uses `grads` as scratch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Optimizer:
    """Moves `params` against `grads`; weight decay shrinks `decayed`, a view of `params`."""

    def __init__(self, params: Array, grads: Array, decayed: Array, weight_decay: float) -> None:
        self.params, self.grads, self.decayed = params, grads, decayed
        self.weight_decay = weight_decay
        self.state: dict[str, Array] = {}  # all that a resumed run needs, changed in place

    def step(self, learning_rate: float) -> None:
        """Take one step down the gradient."""
        if self.weight_decay:
            self.decayed *= 1 - learning_rate * self.weight_decay
        self._step(learning_rate)

    def _step(self, learning_rate: float) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """v ← μv + g and p ← p − ηv; with Nesterov, p ← p − η(g + μv) (Sutskever et al. 2013)."""

    def __init__(
        self,
        params: Array,
        grads: Array,
        decayed: Array,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, grads, decayed, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov
        if momentum:
            self.state["velocity"] = np.zeros_like(params)

    def _step(self, learning_rate: float) -> None:
        p, g = self.params, self.grads
        if self.momentum:
            v = self.state["velocity"]
            v *= self.momentum
            v += g
            if self.nesterov:
                g *= learning_rate
                p -= g
                np.multiply(v, learning_rate * self.momentum, out=g)
            else:
                np.multiply(v, learning_rate, out=g)
        else:
            g *= learning_rate
        p -= g


class AdamW(Optimizer):
    """m ← β₁m + (1−β₁)g, s ← β₂s + (1−β₂)g²; p ← p − η m̂/(√ŝ + ε) (Kingma & Ba 2015)."""

    def __init__(
        self,
        params: Array,
        grads: Array,
        decayed: Array,
        weight_decay: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, grads, decayed, weight_decay)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.state["first_moment"] = np.zeros_like(params)
        self.state["second_moment"] = np.zeros_like(params)
        self.state["steps"] = np.zeros((), np.int64)
        self._scratch = np.empty_like(params)

    def _step(self, learning_rate: float) -> None:
        p, g, a = self.params, self.grads, self._scratch
        m, s, t = self.state["first_moment"], self.state["second_moment"], self.state["steps"]
        t += 1
        m *= self.beta1
        np.multiply(g, 1 - self.beta1, out=a)
        m += a
        s *= self.beta2
        g *= g
        g *= 1 - self.beta2
        s += g
        np.multiply(s, 1 / (1 - self.beta2 ** int(t)), out=a)  # ŝ
        np.sqrt(a, out=a)
        a += self.epsilon
        np.divide(m, a, out=g)
        g *= learning_rate / (1 - self.beta1 ** int(t))  # η m̂/(√ŝ + ε)
        p -= g


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}
