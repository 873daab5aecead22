"""BOSH (XEP-0124, XEP-0206): log in to a connection manager and hand the session over.

``body``, ``session``, ``sasl`` and ``login`` do no I/O: they take the bytes of responses and return the bytes of
requests. ``transport`` carries them over HTTP, ``runner`` carries one login. ``stream`` runs wokkel's handlers on
the session. The package knows nothing of HTTP resources or extauth.
"""
