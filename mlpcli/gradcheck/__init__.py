"""The gradient check: it knows the mathematics and the data, no run and no file."""
