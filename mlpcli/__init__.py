"""Train plain neural networks on CIFAR-10 from the command line, every gradient checked."""

__version__ = "0.1.0"
