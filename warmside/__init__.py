"""warmside logs users of a web application in to ejabberd without knowing their XMPP passwords."""

__version__ = "0.1.0"
