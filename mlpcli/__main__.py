"""`mlpcli`, and `python -m mlpcli`."""

import signal
import sys


def main() -> None:
    """Run the command line; during its import, Ctrl-C ends the process without a traceback."""
    try:
        import fcntl  # noqa: F401 - the lock of a run's folder
    except ImportError:
        sys.exit(
            f"error: mlpcli needs Linux or macOS: Python on {sys.platform} has no fcntl, by which "
            f"folders are locked; on Windows it runs in WSL"
        )
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mlpcli.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
