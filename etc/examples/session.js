// The browser's side, with Strophe: online at once, the same session after a reload, and never the session of the
// previous user. Load strophe.umd.min.js first.

export class ChatSession {
  // bosh: URL of the connection manager. changed(status): called with each status of Strophe's.
  // url, method: the request that returns JID, SID and RID from your application.
  constructor(bosh, changed, url = "/chat-session", method = "POST") {
    this.url = url;
    this.method = method;
    this.changed = changed;
    this.connection = new Strophe.Connection(bosh, {keepalive: true}); // keeps the session over a reload
  }

  // Resume this tab's session if it belongs to the user, or attach to a new one.
  async start(user) {
    const changed = (status) => this.changed(status);
    if (sessionStorage.getItem("chat-user") === user) {
      try {
        this.connection.restore(undefined, (status) => {
          const over = status === Strophe.Status.CONNFAIL || status === Strophe.Status.DISCONNECTED;
          if (over) this.forget();
          this.changed(status);
        });
        this.connection.flush();
        return;
      } catch (error) {
        // No session to resume: get a new one.
      }
    }
    this.forget();
    const reply = await fetch(this.url, {method: this.method});
    if (!reply.ok) throw new Error((await reply.json()).error);
    const session = await reply.json();
    sessionStorage.setItem("chat-user", user);
    const {jid, sid, rid} = session;
    sessionStorage.setItem("strophe-bosh-session", JSON.stringify({jid, sid, rid})); // allows a reload before the first request
    this.connection.attach(session.jid, session.sid, session.rid, changed, session.wait, session.hold);
    this.connection.flush(); // starts polling; attach() does not if the connection object is older than 100 ms
  }

  // End the chat session, then the session of the application.
  async logOut() {
    const ended = new Promise((resolve) => (this.changed = (status) => status === Strophe.Status.DISCONNECTED && resolve()));
    this.connection.disconnect("logged out");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 3000))]);
    this.forget();
    await fetch("/logout", {method: "POST", redirect: "manual"});
  }

  forget() {
    sessionStorage.removeItem("chat-user");
    sessionStorage.removeItem("strophe-bosh-session");
  }
}
