"""Train plain neural networks on CIFAR-10 from the command line, every gradient proven."""

__version__ = "0.1.0"
