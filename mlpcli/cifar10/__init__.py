"""The data set: where it comes from, how its files are read, what can stand in for it."""
