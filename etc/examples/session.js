// The browser's side, with Strophe: online at once, the same session after a reload, and no session
// of the user before. Load strophe.umd.min.js first.

export class ChatSession {
  // bosh: the address of the connection manager; changed(status, session): told of Strophe's status;
  // url, method: where your application hands JID, SID and RID out.
  constructor(bosh, changed, url = "/chat-session", method = "POST") {
    this.url = url;
    this.method = method;
    this.changed = changed;
    this.connection = new Strophe.Connection(bosh, {keepalive: true}); // keeps the session over a reload
  }

  // Go on with this tab's session if it is the user's, or attach to a new one.
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
        // There is nothing to go on with: get a new one.
      }
    }
    this.forget();
    const reply = await fetch(this.url, {method: this.method});
    if (!reply.ok) throw new Error((await reply.json()).error);
    const session = await reply.json();
    sessionStorage.setItem("chat-user", user);
    const {jid, sid, rid} = session;
    sessionStorage.setItem("strophe-bosh-session", JSON.stringify({jid, sid, rid})); // for a reload before the first request
    this.connection.attach(session.jid, session.sid, session.rid, changed, session.wait, session.hold);
    this.connection.flush(); // begins to poll: Strophe has given that up if it was not connected within 100 ms
  }

  // End the chat session, then the application's own.
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
