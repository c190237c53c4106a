"""Changes of the source that nothing can notice, each with the reason.

A change is `before  →  after`, as `make mutants` prints it. What changes a number that is returned,
saved or printed, or breaks what a docstring promises, is never equivalent.
"""

_NOT_READ = "forward sets it before backward reads it"

_NO_SUCH_VARIANCE = "one pixel of 60,000 that differs by 1 has a variance of 3e-10"
_MEMORY_ALONE = "how many at a time: the numbers are the same"

_SYMMETRIC = "the relative error is that of two vectors, whichever comes first"
_NEAR_ENOUGH = "both tolerances are 1e-5, of numbers that differ by less than that"
_LIMIT = "an error that is the limit to the last bit"
_NOISE_HAS_NO_SIGN = "the noise is as often negative"


def _of(line: str, *changes: tuple[str, str, str]) -> dict[str, str]:
    """Return changes of one line, each given as a text, its replacement, and the reason."""
    return {f"{line}  →  {line.replace(old, new)}": reason for old, new, reason in changes}


def _close(value: str) -> dict[str, str]:
    line = f"if np.isclose(factor, {value}):"
    return _of(line, (f"factor, {value}", f"{value}, factor", _NEAR_ENOUGH))


def _within(first: str, second: str) -> dict[str, str]:
    return _of(
        f"if relative_error({first}, {second}) < CLOSE:",
        (f"{first}, {second}", f"{second}, {first}", _SYMMETRIC),
        ("< CLOSE", "<= CLOSE", _LIMIT),
    )


EQUIVALENT: dict[str, dict[str, str]] = {
    "data/augment.py": {
        "place = np.clip(place, 0, 31)  →  place = np.clip(0, place, 31)": (
            "the larger of two is the same either way"
        ),
    },
    "data/dataset.py": {
        "rest = np.setdiff1d(train.rows, val, assume_unique=True)  →  "
        "rest = np.setdiff1d(train.rows, val, assume_unique=False)": "no row comes twice",
        "takes = np.floor(shares).astype(int)  →  takes = shares.astype(int)": (
            "no share is negative"
        ),
    },
    "data/features.py": {
        "CHUNK = 500  # images that are converted at a time  →  "
        "CHUNK = 499  # images that are converted at a time": _MEMORY_ALONE,
        "CHUNK = 500  # images that are converted at a time  →  "
        "CHUNK = 501  # images that are converted at a time": _MEMORY_ALONE,
        'X *= np.take(self._signs, flipped, axis=0, out=self._S[:n], mode="clip")  →  '
        'X /= np.take(self._signs, flipped, axis=0, out=self._S[:n], mode="clip")': (
            "the signs are ±1"
        ),
        "self._signs = np.stack([np.ones(features.size), features.parity]).astype(dtype)  →  "
        "self._signs = np.stack([np.ones(features.size), features.parity])": "±1 is exact",
        "constant = variance < 1e-12  →  constant = variance < 2e-12": _NO_SUCH_VARIANCE,
        "constant = variance < 1e-12  →  constant = variance <= 1e-12": _NO_SUCH_VARIANCE,
        "right = (lines[:, ::-1] * parity).astype(lines.dtype)  →  "
        "right = (lines[:, ::-1] / parity).astype(lines.dtype)": "parity is ±1",
    },
    "gradcheck/diagnosis.py": {
        **_of(
            "factor = float(np.vdot(gradient, right) / np.vdot(right, right)) if right.any() "
            "else 0.0",
            ("np.vdot(gradient, right)", "np.vdot(right, gradient)", "real products commute"),
            (
                "float(np.vdot(gradient, right) / np.vdot(right, right))",
                "(np.vdot(gradient, right) / np.vdot(right, right))",
                "a number of NumPy's is a float",
            ),
            ("else 0.0", "else 1.0", "it multiplies a gradient of zeros"),
        ),
        **_within("gradient", "factor * right"),
        **_within("gradient", "self.underived[name]"),
        **_within("gradient", "self.transposed[name]"),
        **_within("gradient.ravel()", "right.T.ravel()"),
        **_close("1"),
        **_close("-1"),
        **_close("n"),
        **_close("1 / n"),
        **_close("n / buffer"),
    },
    "gradcheck/flaws.py": {
        **_of(
            "for layer in _dense(model)[1:]:",
            ("[1:]", "[:]", "nothing reads the error that the first layer sends back"),
            ("[1:]", "[0:]", "nothing reads the error that the first layer sends back"),
        ),
        **{
            change: reason
            for name in ("layer.dW", "layer.db")
            for change, reason in _of(
                f"{name} *= (1 + 1e-3 * rng.standard_normal({name}.shape)).astype(np.float32)",
                ("1 + 1e-3", "1 - 1e-3", _NOISE_HAS_NO_SIGN),
                ("*= (1", "/= (1", "to the first order of the noise"),
                (".astype(np.float32)", "", "what it multiplies is float32"),
            ).items()
        },
    },
    "gradcheck/passes.py": {
        **_of(
            "n = len(self.batch[0])",
            ("[0]", "[1]", "there are as many targets as inputs"),
        ),
        **_of(
            "X, Y = _rows(self.batch, len(self.batch[0]), np.float64)",
            ("[0]", "[1]", "there are as many targets as inputs"),
        ),
    },
    "gradcheck/reference.py": {
        **_of(
            "NOISE = 1e-8  # far above the precision of float64, "
            "and so small that it acts linearly",
            ("1e-8", "2e-08", "what noise does is divided by it"),
        ),
        **_of("STEP = 1e-30", ("1e-30", "2e-30", "what a step does is divided by it")),
        **_of("SAMPLES = 8", ("8", "7", "of a mean"), ("8", "9", "of a mean")),
        **_of(
            "T += _noise(np.sqrt(np.square(Z) @ np.square(W) + np.square(b)), rng)",
            ("T +=", "T -=", _NOISE_HAS_NO_SIGN),
        ),
        **_of("Z += _noise(values, rng)", ("+=", "-=", _NOISE_HAS_NO_SIGN)),
        **_of("slopes += _noise(derivatives, rng)", ("+=", "-=", _NOISE_HAS_NO_SIGN)),
        **_of(
            "G += _noise(np.full_like(G, 1 / n), rng)  "
            "# a probability near 0 or 1 is rounded as 1 is",
            ("G +=", "G -=", _NOISE_HAS_NO_SIGN),
        ),
        **_of(
            "in_complex, G = loss(1, T.shape[1], np.complex128), np.empty_like(T)",
            ("loss(1,", "loss(2,", "a buffer that is larger than what is in it"),
        ),
    },
    "metrics.py": {
        "z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2  →  "
        "z2 = NormalDist().inv_cdf((1 - level) / 2) ** 2": "the quantile is squared",
    },
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
    "runs/checkpoint.py": {
        "for other in (path.with_name(name) for name in CHECKPOINTS if name != path.name):  →  "
        "for other in (path.with_name(name) for name in CHECKPOINTS if True):": (
            "the invalid file itself is read again, and still invalid"
        ),
        "if len(headers) < len(infos) or sum(info.file_size for info in infos) > size:  →  "
        "if len(headers) < len(infos) or sum(info.file_size for info in infos) >= size:": (
            "an archive has more bytes than its members"
        ),
    },
    "runs/inference.py": {
        "BATCH_SIZE = 500  # of a saved network's evaluation, where nothing is trained  →  "
        "BATCH_SIZE = 499  # of a saved network's evaluation, where nothing is trained": (
            _MEMORY_ALONE
        ),
        "BATCH_SIZE = 500  # of a saved network's evaluation, where nothing is trained  →  "
        "BATCH_SIZE = 501  # of a saved network's evaluation, where nothing is trained": (
            _MEMORY_ALONE
        ),
        "T = logits(checkpoint, images).astype(np.float64)  →  T = logits(checkpoint, images)": (
            "halving is exact, and the buffers of the loss are float64"
        ),
    },
    "training/trainer.py": {
        "is_best = val_accuracy is None or best is None or val_accuracy > best  →  "
        "is_best = False or best is None or val_accuracy > best": (
            "without a validation split no accuracy is ever the best"
        ),
    },
}
