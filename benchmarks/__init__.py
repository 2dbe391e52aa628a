"""Benchmarks of truebit_async and of code that does the same without it. Run them with ``python -m benchmarks``."""
