"""``twistd warmside``."""

from twisted.application.service import ServiceMaker

warmside = ServiceMaker("warmside", "warmside.service", "Logs web users in to ejabberd", "warmside")
