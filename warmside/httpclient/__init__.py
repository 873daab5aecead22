"""HTTP client under treq.

A login sends four or five requests to one address. Twisted's general agent parses that address, looks up its endpoint,
builds the head and leaves each write to the reactor's next turn; that takes longer than the BOSH work. This client
prepares all of it once, writes a request at once, and returns the response when it is complete.
"""
