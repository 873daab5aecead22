// The user of this browser, as the server knows it. Both pages use this module.
//
// fetchForUser  requests a session or a password from the application, and retries
// nextLogin     waits until the application has a logged-in user again
// become        clears what the chat client stored for another user
// logOut        logs out of the application, in all tabs
// onLogOut      calls a function if another tab logs out

const USER = "chat-user"; // the last user: in localStorage for the browser, in sessionStorage for the tab
const PREFIXES = ["converse", "strophe", USER]; // of the keys that Converse.js, Strophe and this module store
const DATABASE = "converse-persistent"; // the IndexedDB database of Converse.js
const FIRST_DELAY = 1000; // milliseconds
const MAX_DELAY = 60_000; // milliseconds
const TIMEOUT = 30_000; // milliseconds for one request
const LOGIN_INTERVAL = 30_000; // milliseconds between two requests of a visible tab that waits for a login
const LOGGED_IN = "logged in", LOGGED_OUT = "logged out"; // what tabs send to each other

const tabs = new BroadcastChannel("chat-user");

// Thrown if the server has no logged-in user for this browser.
export class LoggedOut extends Error {}

// Request `url` and return the JSON of the reply. A reply of 401, or a redirect to a login page, throws LoggedOut.
// Network errors, 408, 429 and 5xx are retried after 1 s, 2 s, 4 s … 60 s, each between half and all of the delay, and at
// once if the browser comes online. `failed` is called with the text of each of these errors. Any other status throws.
export async function fetchForUser(url, {method = "POST", failed = () => {}, signal} = {}) {
  for (let delay = FIRST_DELAY; ; delay = Math.min(2 * delay, MAX_DELAY)) {
    let reply;
    try {
      reply = await request(url, method);
      if (reply.ok) return await reply.json();
    } catch (error) {
      failed(error.message);
    }
    signal?.throwIfAborted();
    if (reply?.status === 401 || reply?.type === "opaqueredirect") {
      await clearStorage();
      throw new LoggedOut("logged out");
    }
    if (reply && !reply.ok) {
      const message = `${url}: status ${reply.status}`;
      if (reply.status < 500 && ![408, 429].includes(reply.status)) throw new Error(message);
      failed(message);
    }
    await pause(delay * (0.5 + Math.random() / 2));
    signal?.throwIfAborted();
  }
}

// Wait until the application has a logged-in user, and return the JSON of its reply. The request is sent when another tab
// has a user, when this tab gets the focus or is shown, and every 30 s while it is visible. Any reply but a success means
// that there is no user yet. Throws if `signal` aborts.
export async function nextLogin(url, {method = "POST", signal} = {}) {
  for (;;) {
    await possibleLogin(signal);
    signal?.throwIfAborted();
    const reply = await request(url, method).catch(() => null);
    signal?.throwIfAborted();
    if (reply?.ok) return reply.json();
  }
}

// Make `jid` the user of this tab. If the tab or the browser had another one, clear what the client stored.
export async function become(jid) {
  const user = bare(jid);
  if ([localStorage, sessionStorage].some((storage) => storage.getItem(USER) !== user)) await clearStorage();
  for (const storage of [localStorage, sessionStorage]) storage.setItem(USER, user);
  tabs.postMessage(LOGGED_IN);
}

// End the chat in the other tabs, clear what the client stored, and log out of the application. End the chat session of
// this tab first. Throws if the application does not confirm the log-out: the user is still logged in there.
export async function logOut(url) {
  tabs.postMessage(LOGGED_OUT); // first, so that no tab gets a new session while the application ends the old ones
  await clearStorage();
  const reply = await request(url, "POST");
  if (!reply.ok && reply.type !== "opaqueredirect" && reply.status !== 401) throw new Error(`${url}: status ${reply.status}`);
}

// Call `callback` when another tab has logged out.
export function onLogOut(callback) {
  tabs.addEventListener("message", async ({data}) => {
    if (data !== LOGGED_OUT) return;
    await callback();
    await clearStorage();
  });
}

// Remove everything that Converse.js, Strophe and these modules stored in this browser.
export async function clearStorage() {
  for (const storage of [localStorage, sessionStorage])
    for (const key of Object.keys(storage)) if (PREFIXES.some((prefix) => key.startsWith(prefix))) storage.removeItem(key);
  await new Promise((resolve) => {
    const request = indexedDB.deleteDatabase(DATABASE);
    request.onsuccess = request.onerror = request.onblocked = resolve;
  });
}

export const bare = (jid) => jid.split("/")[0].toLowerCase();

function request(url, method) {
  // A framework that checks a token for each POST puts it into the page: <meta name="csrf-token" content="…">.
  const token = document.querySelector("meta[name=csrf-token]")?.content;
  return fetch(url, {
    method,
    cache: "no-store",
    headers: {Accept: "application/json", ...(token ? {"X-CSRFToken": token} : {})},
    redirect: "manual",
    signal: AbortSignal.timeout(TIMEOUT),
  });
}

function pause(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    }
    addEventListener("online", done);
  });
}

function possibleLogin(signal) {
  return new Promise((resolve) => {
    const waiting = new AbortController();
    const shown = () => document.visibilityState === "visible" && done();
    const timer = setInterval(shown, LOGIN_INTERVAL);
    const listen = (target, name, callback) => target.addEventListener(name, callback, {signal: waiting.signal});
    function done() {
      clearInterval(timer);
      waiting.abort(); // removes the listeners
      resolve();
    }
    listen(window, "focus", shown);
    listen(document, "visibilitychange", shown);
    listen(tabs, "message", ({data}) => data === LOGGED_IN && done());
    if (signal) listen(signal, "abort", done);
  });
}
