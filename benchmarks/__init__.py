"""What truebit_async costs, side by side with the ways in which one would do without it: ``python -m benchmarks``."""
