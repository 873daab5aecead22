"""Private interfaces of Twisted and wokkel that warmside depends on, each with the reason.

Nothing outside this package may use an interface that these projects do not document. ``tests/compat`` checks
each one and names it when a release changes it. The package imports nothing of warmside.
"""
