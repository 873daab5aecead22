"""Benchmarks. Each compares two things in one run, against the same servers; none is a test of absolute times."""
