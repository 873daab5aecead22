"""``twistd warmside``."""

from twisted.application.service import ServiceMaker

warmside = ServiceMaker("warmside", "warmside.app.daemon", "Logs web users in to ejabberd", "warmside")
