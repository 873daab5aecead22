"""Connection managers that differ from ejabberd's: proxies that mishandle what punjab and node-xmpp-bosh mishandle."""

import http.client
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_SESSION = b"<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='item-not-found'/>"


class ImitatedManager:
    """A proxy on ``port`` in front of ejabberd's connection manager.

    :param bosh: port of ejabberd's connection manager.
    :param drops_payload: True to drop the payload of session creations and to announce no restart logic, as punjab.
    :param breaks_on_early_restart: True to lose a session that is restarted before ``<success/>``, as node-xmpp-bosh.
    """

    def __init__(self, bosh: int, *, drops_payload: bool = False, breaks_on_early_restart: bool = False) -> None:
        self._bosh = bosh
        self._drops_payload = drops_payload
        self._breaks = breaks_on_early_restart
        self._authenticated: set[bytes] = set()
        self.lost = 0
        manager = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Answer one request."""
                answer = manager.answer(self.rfile.read(int(self.headers["Content-Length"])))
                with suppress(ConnectionError):  # warmside does not wait for every response
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request: bytes) -> bytes:
        """Return the response to a request."""
        sid = _attribute(request, b"sid")
        if not sid and self._drops_payload:
            request = re.sub(rb"(<body[^>]*[^/])>.*</body>", rb"\1/>", request, flags=re.DOTALL)
        if self._breaks and b"restart='true'" in request and sid not in self._authenticated:
            self.lost += 1
            return NO_SESSION
        connection = http.client.HTTPConnection("127.0.0.1", self._bosh, timeout=60)
        connection.request("POST", "/bosh", request, {"Content-Type": "text/xml; charset=utf-8"})
        response = connection.getresponse().read()
        connection.close()
        if b"<success" in response:
            self._authenticated.add(sid or _attribute(response, b"sid"))
        return response.replace(b"xmpp:restartlogic='true'", b"") if self._drops_payload else response

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _attribute(body: bytes, name: bytes) -> bytes:
    match = re.search(rb"\s" + name + rb"='([^']*)'", body.partition(b">")[0])
    return match[1] if match else b""
