"""The process: the service, its entry points, listening and the log."""
