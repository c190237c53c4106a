"""Changes of the source that nothing can notice, each with the reason.

A change is `before  →  after`, as `make mutants` prints it. What changes a number that is returned,
saved or printed, or breaks what a docstring promises, is never equivalent.
"""

_NOT_READ = "forward sets it before backward reads it"

EQUIVALENT: dict[str, dict[str, str]] = {
    "nn/activations.py": {
        "self.T = self.Z = self._buffer[:0]  →  self.T = self.Z = self._buffer[:]": _NOT_READ,
        "self.T = self.Z = self._buffer[:0]  →  self.T = self.Z = self._buffer[:1]": _NOT_READ,
        "np.greater(Z.real, 0, out=T)  →  np.greater(Z, 0, out=T)": (
            "where its real part is 0, forward has made Z 0"
        ),
    },
    "nn/layers.py": {
        "self.X: Array = self._T[:0]  →  self.X: Array = self._T[:]": _NOT_READ,
        "self.X: Array = self._T[:0]  →  self.X: Array = self._T[:1]": _NOT_READ,
    },
    "nn/losses.py": {
        "A = np.subtract(self.probs(T), Y, out=self._terms[:n])  →  "
        "A = np.subtract(Y, self.probs(T), out=self._terms[:n])": "it is squared",
        "np.max(T.real, axis=1, keepdims=True, out=row)  →  "
        "np.max(T, axis=1, keepdims=True, out=row)": "the shift cancels, its imaginary part too",
    },
    "nn/optimizers.py": {
        "if self.weight_decay:  →  if True:": "it multiplies by 1",
    },
}
