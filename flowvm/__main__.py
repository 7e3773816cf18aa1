"""``python -m flowvm``: the command line."""

from flowvm.cli import main

main()
