"""slixmpp with one-time passwords: prints its state and the messages to the user.

pip install slixmpp
CREDENTIALS_URL=https://example.org/chat-credentials COOKIE=... python slixmpp_client.py
"""

import asyncio
import json
import os
import random
import ssl
import urllib.error
import urllib.request
from typing import Any

from slixmpp import ClientXMPP

CREDENTIALS_URL = os.environ["CREDENTIALS_URL"]
COOKIE = os.environ["COOKIE"]
"""The cookie of the user's login to the web application."""
SERVER = os.environ["SERVER"].split(":") if "SERVER" in os.environ else ()
"""Host and port; without them, those in the DNS."""


class LoggedOut(Exception):
    """The user is not logged in to the application."""


def request_credential() -> dict[str, str]:
    """Return ``jid`` and ``password`` from the application."""
    headers = {"Accept": "application/json", "Cookie": COOKIE}
    request = urllib.request.Request(CREDENTIALS_URL, method="POST", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return dict(json.load(reply))


async def fetch_credential() -> dict[str, str]:
    """Return ``jid`` and ``password``; retry after 1 s, 2 s, 4 s … 60 s while the application is not available.

    :raises LoggedOut: the status is 401.
    """
    delay = 1.0
    while True:
        try:
            return await asyncio.to_thread(request_credential)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                raise LoggedOut("logged out") from None
            if error.code < 500 and error.code not in (408, 429):
                raise
        except OSError:
            pass
        await asyncio.sleep(delay * random.uniform(0.5, 1))
        delay = min(2 * delay, 60)


class Chat(ClientXMPP):
    """A client that gets a password for each login.

    :param credential: ``jid`` and ``password``, for the first login.
    """

    def __init__(self, credential: dict[str, str]) -> None:
        super().__init__(credential["jid"], credential["password"])
        self.ssl_context = ssl.create_default_context()  # without it, slixmpp accepts any certificate
        self.register_plugin("xep_0198")  # stream management: resumes the session after a lost connection
        self.add_event_handler("disconnected", self.on_disconnected)
        self.add_event_handler("session_start", self.on_session_start)
        self.add_event_handler("session_resumed", lambda _: print(f"resumed {self.boundjid}", flush=True))
        self.add_event_handler("message", self.on_message)
        self.logged_out: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_disconnected(self, _: Any) -> None:
        """Connect again with a new password, until the user is logged out."""
        print("offline", flush=True)
        try:
            self.credentials["password"] = (await fetch_credential())["password"]  # a new one for each login
        except (LoggedOut, urllib.error.HTTPError) as error:
            print(f"error {error}", flush=True)
            self.logged_out.set_result(None)
        else:
            self.connect(*SERVER)

    async def on_session_start(self, _: Any) -> None:
        """Become available."""
        print(f"online {self.boundjid}", flush=True)
        self.send_presence()

    def on_message(self, message: Any) -> None:
        """Print a message."""
        if message["body"]:
            print(f"{message['from']}: {message['body']}", flush=True)


async def main() -> None:
    """Run until the user is logged out."""
    chat = Chat(await fetch_credential())
    chat.connect(*SERVER)
    await chat.logged_out


asyncio.run(main())
