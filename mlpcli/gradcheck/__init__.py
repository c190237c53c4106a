"""The gradient check: it knows the mathematics and the data, no run and no file."""

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
