"""ejabberd's extauth protocol and the authorities that answer its requests.

To write an authority, see `warmside.extauth.authorities`. To offer it as a Twisted plugin, see
`warmside.extauth.plugins`. This file imports nothing, because the relay loads it.
"""
