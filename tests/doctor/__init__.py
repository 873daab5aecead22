"""Tests of warmside.doctor."""
