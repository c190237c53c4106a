"""One thin file a subcommand: parse, call, print.

Commands import NumPy and all that needs it inside their functions: `--help` stays quick, and a
configuration's thread count is in force before NumPy loads.
"""
