"""The HTTP interface: who may ask, what a request may say, what a reply looks like."""
