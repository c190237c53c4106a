"""A training on disk: its folder, its checkpoints, and what a saved network predicts."""
