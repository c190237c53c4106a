"""`python -m mlpcli` is the command `mlpcli`."""

from mlpcli.cli import main

main()
