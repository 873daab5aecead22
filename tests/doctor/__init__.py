"""Tests of ``warmside check``."""
