"""Limits on failed logins: by account, by address; previously accepted passwords."""
