"""The training loop: no files, no printing."""
