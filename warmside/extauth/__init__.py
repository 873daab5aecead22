"""ejabberd's extauth protocol, and the authorities that answer it.

Whoever writes an authority of his own needs `warmside.extauth.authorities` (`Authority` to build on,
`IAuthority` for what it has to do) and, to offer it as a Twisted plugin, `warmside.extauth.plugins`.
The relay lives here, too, and must load nothing else: so this file imports nothing.
"""
