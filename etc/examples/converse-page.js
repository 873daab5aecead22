// The page converse.html: starts Converse.js as the user whom the server knows, and ends it with the login.

import {LoggedOut, bare, become, fetchForUser, logOut, nextLogin, onLogOut} from "./user.js";

const {websocket, credentials: url, logout} = document.body.dataset;
const assets = new URL("converse/", document.baseURI);
const address = new URL(websocket, document.baseURI);
address.protocol = address.protocol.replace("http", "ws"); // https: becomes wss:

function show(state, text = "") {
  const element = document.getElementById("state");
  element.textContent = text && text !== state ? `${state}: ${text}` : state;
  element.dataset.state = state;
}

// Return the JID of the logged-in user and a new one-time password.
const fetchCredentials = () => fetchForUser(url, {failed: (text) => show("offline", text)});

let over = false;
let user; // bare JID, as the server knows it
let first; // the first one-time password, until Converse.js logs in with it

// End the page: nothing of the user is left in it. Converse.js can't be started twice in one page.
function end(state, text) {
  over = true;
  document.querySelector("converse-root")?.remove();
  show(state, text);
}

// The login of the application is over. After the next login the page starts again.
function loggedOut() {
  end("logged out");
  nextLogin(url).then(() => location.reload());
}

const stop = (error) => (error instanceof LoggedOut ? loggedOut() : end("offline", error.message));

const plugin = {
  initialize() {
    const {api} = this._converse;
    // Each login needs a new password. Without this hook Converse.js requests credentials_url itself, every two
    // seconds without an end, also after the log-out and as another user.
    api.listen.on("beforeAttemptNonPreboundSession", async (context, login) => {
      try {
        const credentials = first ?? (await fetchCredentials());
        first = undefined;
        if (bare(credentials.jid) === user) return {...login, credentials};
        end("logged out", "another user is logged in");
      } catch (error) {
        stop(error);
      }
      return new Promise(() => {}); // Converse.js waits, and does not log in
    });
    for (const event of ["connected", "reconnected"]) api.listen.on(event, () => over || show("online"));
    for (const event of ["will-reconnect", "disconnected"]) api.listen.on(event, () => over || show("offline"));
    api.listen.on("logout", async () => {
      over = true;
      try {
        await logOut(logout);
        loggedOut();
      } catch (error) {
        end("offline", `log-out failed: ${error.message}`);
      }
    });
    document.getElementById("logout").onclick = () => api.user.logout();
    onLogOut(async () => {
      over = true;
      api.settings.set("auto_reconnect", false);
      api.connection.disconnect();
      loggedOut();
    });
  },
};

async function start() {
  first = await fetchCredentials();
  user = bare(first.jid);
  await become(user);
  converse.plugins.add("login", plugin);
  await converse.initialize({
    jid: user, // without it, Converse.js may start as the previous user
    authentication: "login",
    auto_login: true,
    credentials_url: url, // Converse.js reconnects after a rejected password only with this setting
    websocket_url: address.href,
    assets_path: assets.pathname,
    clear_cache_on_logout: true,
    discover_connection_methods: false,
    show_connection_url_input: false,
    view_mode: "fullscreen",
    whitelisted_plugins: ["login"],
  });
}

start().catch(stop);
