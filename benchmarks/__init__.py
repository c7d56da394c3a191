"""Benchmarks: one file per question, one runner (`make bench`).

Nothing here is imported by the package or asserted by the tests; results are printed
as ratios of interleaved runs and written to docs/benchmarks.md by the runner.
"""
