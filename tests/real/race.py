"""Three ways to come online, timed in a browser behind a slow network."""

from tests.real.browser import Browser
from tests.real.parts import Server
from tests.real.proxy import SlowProxy
from tests.real.website import WebServer, log_in

WAYS = {
    "inline": "attach, session in the page",
    "fetch": "attach, session fetched",
    "login": "log in with a password",
}
ROUND_TRIP = 0.1
"""Seconds."""

SCRIPT = """
const [script, bosh, how, secret, done] = arguments;
const parse = (html) => new DOMParser().parseFromString(html, "text/html");
const element = document.createElement("script");
element.src = script;
element.onload = async () => {
  // The page with its session inside arrives before the clock starts, as the page of the other two ways does.
  const page = how === "inline" ? parse(await (await fetch("/chat")).text()) : null;
  const connection = new Strophe.Connection(bosh);
  const started = performance.now();
  const online = () => {
    const id = connection.getUniqueId();
    connection.addHandler(() => { connection.disconnect(); done(performance.now() - started); }, null, "iq", null, id);
    connection.send($iq({type: "get", to: "example.org", id}).c("ping", {xmlns: "urn:xmpp:ping"}));
    connection.flush();
  };
  const changed = (status) => {
    if ([Strophe.Status.CONNECTED, Strophe.Status.ATTACHED].includes(status)) online();
    if (status === Strophe.Status.AUTHFAIL || status === Strophe.Status.CONNFAIL) done(null);
  };
  if (how === "login") return connection.connect("racer@example.org", secret, changed);
  const session = page
    ? JSON.parse(page.getElementById("chat-session").textContent)
    : await (await fetch("/chat-session", {method: "POST"})).json();
  connection.attach(session.jid, session.sid, session.rid, changed, session.wait, session.hold);
};
document.head.append(element);
"""


def measure(server: Server, bosh: int, website: WebServer, browser: Browser, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds from the loaded page to the first answered ping, for each of `WAYS`, in rounds.

    :param bosh: port of the connection manager for browsers, on another origin than the page.
    """
    server.command("register", user="racer", host="example.org", password="county")
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    with SlowProxy(website.port, ROUND_TRIP) as slow_site:
        page = f"http://127.0.0.1:{slow_site.port}"
        log_in(browser, page, "racer")
        for _ in range(rounds):
            for way, milliseconds in took.items():
                browser.get(f"{page}/static/chat.css")
                with SlowProxy(bosh, ROUND_TRIP) as slow_bosh:  # a new port: the browser has no connection to it yet
                    address = f"http://127.0.0.1:{slow_bosh.port}/bosh"
                    milliseconds.append(browser.run(SCRIPT, "strophe.umd.min.js", address, way, "county"))
    return took
