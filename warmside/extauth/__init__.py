"""ejabberd's external authentication protocol, and the authorities that answer its questions."""
