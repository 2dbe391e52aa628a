"""``python -m truebit_async`` is the command ``truebit-async``."""

from truebit_async.cli import main

main()
