// The calls of a web application to warmside: copy this file. Node 18 or newer, no packages.
// Set WARMSIDE, WARMSIDE_PASSWORD and CHAT_HOST in the environment.

const {
  WARMSIDE = "http://127.0.0.1:5281",
  WARMSIDE_LOGIN = "webapp",
  WARMSIDE_PASSWORD,
  CHAT_HOST = "example.org",
} = process.env;

// warmside or ejabberd does not respond, or is busy. Try again after retryAfter seconds.
export class ChatUnavailable extends Error {
  constructor(reason, retryAfter = 5) {
    super(reason);
    this.retryAfter = retryAfter;
  }
}

// The call can't succeed: show the user that there is no chat, and read the message in your log.
export class ChatRefused extends Error {}

// The user was logged out while the session was made. Respond as to a user who is not logged in.
export class LoggedOut extends Error {}

// Return the bare JID of a user of your site, for any name (XEP-0106). ejabberd prepares a JID: it drops invisible
// characters, folds case and normalizes (NFKC). So that is done first, and then the escaping. Otherwise the escapes of
// one name could be the text of another one.
export function chatJid(name) {
  const ignored = /[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]/g;
  name = name.replace(ignored, "").normalize("NFKC").toLowerCase().normalize("NFKC").replace(/^ +| +$/g, "");
  if (!name) throw new RangeError("a name needs a character other than spaces");
  name = name.replace(/\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)/g, "\\5c");
  const escape = (character) => "\\" + character.charCodeAt(0).toString(16).padStart(2, "0");
  return name.replace(/[ "&'/:<>@]/g, escape) + "@" + CHAT_HOST;
}

// Announce a new user, so that others can write before the first login. Store the JID that is returned. Names of your
// site that are one account for ejabberd get the same JID: refuse the second one.
export const announce = async (jid) => (await call("POST", "/users", {jids: [jid]})).jids[0];

// Forget a user, and end the user's sessions. `ejabberdctl unregister` removes what ejabberd has stored.
export const remove = (jid) => call("DELETE", "/users/" + encodeURIComponent(jid));

// Return a session for the browser to attach to. Each tab needs its own.
export const warm = (jid, fields = {}) => call("POST", "/warm", {jid, ...fields});

// Return a one-time password for a client that logs in itself, such as Converse.js over WebSocket.
export const credential = (jid) => call("POST", "/credentials", {jid});

// End all chat sessions of a user. Call it at the log-out; try it again if it throws ChatUnavailable.
export const end = (jid) => call("POST", "/end", {jid});

async function call(method, path, fields) {
  let reply, text;
  try {
    reply = await fetch(WARMSIDE + path, {
      method,
      headers: {
        Authorization: "Basic " + Buffer.from(`${WARMSIDE_LOGIN}:${WARMSIDE_PASSWORD}`).toString("base64"),
        Accept: "application/json",
        "Content-Type": "application/json",
      },
      body: fields && JSON.stringify(fields),
      signal: AbortSignal.timeout(15_000),
    });
    text = await reply.text();
  } catch (error) {
    throw new ChatUnavailable(`${path}: ${error.message}`);
  }
  const reason = `${path}: ${text.slice(0, 500)}`;
  if ([429, 502, 503, 504].includes(reply.status)) {
    throw new ChatUnavailable(reason, Number(reply.headers.get("Retry-After") ?? 5));
  }
  if (reply.status === 409 && path === "/warm") throw new LoggedOut();
  if (!reply.ok) throw new ChatRefused(reason);
  return text && JSON.parse(text);
}
