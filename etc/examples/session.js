// A chat session over Strophe that starts with the login of the application and ends with it.
// Load strophe.umd.min.js first. strophe-page.js shows the use.

import {LoggedOut, bare, become, fetchForUser, logOut, nextLogin, onLogOut} from "./user.js";

const BODY = "http://jabber.org/protocol/httpbind";
const SERVER_ERRORS = [0, 500, 502, 503, 504]; // 0: the network; Strophe repeats these requests
const END_TIMEOUT = 5000; // milliseconds for a request that ends a session
const PROBE_DELAY = 1000; // milliseconds after a request was repeated
const QUICK_END = 5000; // milliseconds; after a session that ended earlier, wait up to this time

// Pass the stanzas of a reply of /warm to the handlers of the connection, in order. They came before the page attached.
export function feedStanzas(connection, stanzas) {
  const xml = `<body xmlns="${BODY}">${stanzas.join("")}</body>`;
  const body = new DOMParser().parseFromString(xml, "text/xml").documentElement;
  connection._dataRecv({getResponse: () => body}); // the method that takes every response in Strophe
}

// Take the session that the application put into the page, or null. It is good for one start: the next one requests a
// new session.
function takeInline() {
  const element = document.getElementById("chat-session");
  element?.remove();
  return JSON.parse(element?.textContent.trim() || "null");
}

// Return a stanza of Strophe whose namespace is more than an attribute. Otherwise a serializer writes xmlns twice.
function withNamespace(stanza) {
  return new DOMParser().parseFromString(new XMLSerializer().serializeToString(stanza), "text/xml").documentElement;
}

// Return the milliseconds after which Strophe repeats the request that has failed.
function repeatDelay(connection) {
  const sends = connection._proto._requests[0]?.sends ?? 0;
  return sends > 1 ? sends ** 3 * 1000 : 0;
}

function ping(connection) {
  connection.send($iq({type: "get", id: connection.getUniqueId()}).c("ping", {xmlns: "urn:xmpp:ping"}));
  connection.flush();
}

export class ChatSession {
  // bosh: URL of the connection manager.
  // url: URL of the application that returns the JSON of POST /warm for its logged-in user. The first session may be in
  // the page instead: <script type="application/json" id="chat-session">.
  // prepare(connection, session): adds handlers. It is called for each new session, before the first stanza.
  // changed(state, text): state is "connecting", "online", "offline" or "logged out"; text says more, or is empty.
  constructor({bosh, url = "/chat-session", prepare, changed}) {
    Object.assign(this, {bosh, url, prepare, changed});
    this.user = null; // bare JID, as the server knows it
    this.connection = null;
    this.state = "";
    this.run = null; // aborts the current start()
    onLogOut(() => void this.loggedOut());
    addEventListener("online", () => this.renewIfOver());
    addEventListener("pagehide", () => this.terminate({leaving: true})); // contacts see the user offline at once
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  // Get a session and attach to it. Do the same whenever a session is over. If the user is logged out, wait for the next
  // login. If another user is logged in, stop.
  async start() {
    this.run?.abort();
    this.terminate();
    const {signal} = (this.run = new AbortController());
    this.show("connecting");
    try {
      const failed = (text) => this.show("offline", text);
      const session = takeInline() ?? (await fetchForUser(this.url, {failed, signal}));
      if (this.user && this.user !== bare(session.jid)) this.stop("logged out", "another user is logged in");
      else await this.begin(session, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof LoggedOut) this.loggedOut();
      else this.show("offline", error.message);
    }
  }

  async begin(session, signal) {
    await become(session.jid);
    signal.throwIfAborted();
    this.user = bare(session.jid);
    this.attach(session);
  }

  // The login of the application is over: end the session of this tab, and wait for the next login.
  async loggedOut() {
    this.stop("logged out");
    const {signal} = (this.run = new AbortController());
    try {
      await this.begin(await nextLogin(this.url, {signal}), signal);
    } catch (error) {
      if (!signal.aborted) this.show("offline", error.message);
    }
  }

  attach(session) {
    const connection = (this.connection = new Strophe.Connection(this.bosh));
    const current = () => this.connection === connection;
    const attached = Date.now();
    const changed = (status) => {
      if (status !== Strophe.Status.DISCONNECTED || !current()) return;
      this.show("offline");
      const delay = Date.now() - attached < QUICK_END ? QUICK_END * Math.random() : 0;
      setTimeout(() => current() && this.start(), delay);
    };
    this.inactivity = session.inactivity * 1000;
    this.failing = 0; // time of the first failed request since the last response
    for (const status of SERVER_ERRORS)
      connection.addProtocolErrorHandler("HTTP", status, () => {
        if (!current()) return;
        this.failing ||= Date.now();
        this.show("offline");
        // Once the network is back, the server may hold the repeated request for `wait` seconds. A ping behind it is
        // answered at once. A ping that arrives before it would be held as long.
        clearTimeout(this.probe);
        this.probe = setTimeout(() => current() && this.failing && ping(connection), repeatDelay(connection) + PROBE_DELAY);
        this.renewIfOver();
      });
    this.prepare(connection, session);
    connection.attach(session.jid, session.sid, session.rid, changed, session.wait, session.hold);
    feedStanzas(connection, session.stanzas);
    connection.rawInput = () => {
      if (!current()) return;
      this.failing = 0;
      this.show("online");
    };
    // A session that was warmed with `presence` has priority -1. A new initial presence brings waiting messages and
    // contact requests.
    connection.send([$pres({type: "unavailable"}).tree(), $pres().tree()]);
    connection.flush(); // starts polling; attach() does not if the connection object is older than 100 ms
  }

  // Get a new session if the server has ended this one meanwhile: no request reached it for `inactivity` seconds.
  renewIfOver() {
    if (this.failing && Date.now() - this.failing > this.inactivity) this.start();
  }

  // End the session of this tab, and log out of the application in all tabs.
  async logOut(url = "/logout") {
    try {
      await this.stop("offline", "logging out"); // before the application ends the session, with what is not sent yet
      await logOut(url);
      this.loggedOut();
    } catch (error) {
      this.show("offline", `log-out failed: ${error.message}`);
    }
  }

  // End the session of this tab. The promise is resolved once the server has ended it, or after 5 seconds.
  stop(state, text) {
    this.run?.abort();
    const ended = this.terminate();
    this.user = null;
    this.show(state, text);
    return ended;
  }

  async terminate({leaving = false} = {}) {
    const {connection} = this;
    this.connection = null; // callbacks of this connection have no effect from here on
    if (!connection?.connected) return;
    const {sid} = connection._proto;
    let {rid} = connection._proto;
    // Beacons are sent also if the page goes away. Stanzas that Strophe has not sent yet get a request of their own:
    // with the request that ends the session they would be lost.
    const post = async (body) => {
      if (leaving) return navigator.sendBeacon(this.bosh, body);
      const signal = AbortSignal.timeout(END_TIMEOUT);
      await fetch(this.bosh, {method: "POST", mode: "no-cors", body, signal}).catch(() => {});
    };
    const send = (attributes, stanzas = []) => {
      const body = document.implementation.createDocument(BODY, "body").documentElement;
      for (const [name, value] of Object.entries({rid: rid++, sid, ...attributes})) body.setAttribute(name, value);
      body.append(...stanzas.map(withNamespace));
      return post(new XMLSerializer().serializeToString(body));
    };
    const unsent = connection._data.filter((stanza) => stanza instanceof Element);
    const requests = [...(unsent.length ? [send({}, unsent)] : []), send({type: "terminate"})];
    connection.reset(); // removes the handlers, and ends polling
    await Promise.all(requests);
  }

  show(state, text = "") {
    if (this.state === state && !text) return;
    this.state = state;
    this.changed(state, text);
  }
}
