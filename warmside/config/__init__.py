"""The configuration file, and the folders and files that it names."""
