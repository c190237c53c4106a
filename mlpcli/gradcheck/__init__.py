"""The gradient check and the derivation: they know the mathematics and the data, no run."""

# The flaws that can be injected, by the names of their functions in flaws.py.
FLAWS = (
    "sign",
    "missing_mean",
    "missing_bias",
    "missing_derivative",
    "transposed_weight",
    "doubled_entry",
    "float32_noise",
)
