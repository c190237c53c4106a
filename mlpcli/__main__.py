"""`mlpcli`, and `python -m mlpcli`."""

import signal


def main() -> None:
    """Run the command line; during its import, Ctrl-C ends the process without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mlpcli.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
