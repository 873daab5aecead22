"""Limits on failed logins."""
