"""Warm sessions: log in, hand over, clean up."""
