"""The process: the service, its entry points, sockets and log."""
