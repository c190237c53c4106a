"""The data set: where it comes from, how its files are read, and the shapes that stand in for it."""
