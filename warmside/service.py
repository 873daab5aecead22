"""Alias of `warmside.app.daemon` for one release: earlier plugins name this module."""

from warmside.app.daemon import Options, makeService

__all__ = ["Options", "makeService"]
