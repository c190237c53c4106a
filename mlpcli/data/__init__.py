"""From uint8 arrays to batches: splits, features of the pixels, augmentation, loaders."""
