"""BOSH (XEP-0124, XEP-0206): logging in to a connection manager and handing the session over.

``body``, ``session``, ``sasl`` and ``login`` do no I/O: bytes of responses in, bytes of requests
out. ``transport`` and ``runner`` carry them. This room knows nothing of HTTP resources or extauth.
"""
