"""Measurements: run with ``make bench``; results and tables are in benchmarks/results and benchmarks/README.md."""
