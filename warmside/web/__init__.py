"""The HTTP interface.

To add a field of ``POST /warm``: an entry in `fields`. To add a resource: a class and its path in `resources`, and
its description in `openapi`. To add a problem: an entry in `problems`.
"""
