// Converse.js: attached to a warm session, or logging in over WebSocket with a one-time password.

import "/lib/converse.js/dist/converse.min.js";
import {bare, become, fetchForUser, logOut, onLogOut} from "/examples/user.js";

const config = JSON.parse(document.getElementById("config").textContent);
const leave = () => location.replace("/");
if (!config.user) leave();
const jid = `${config.user}@${config.host}`;
await become(jid);
const greeter = {juliet: "romeo", romeo: "juliet"}[config.user];
const common = {
  jid, // without it, Converse.js may start as the previous user
  allow_logout: true,
  assets_path: "/lib/converse.js/dist/",
  auto_join_private_chats: greeter ? [`${greeter}@${config.host}`] : [],
  auto_login: true,
  clear_cache_on_logout: true,
  discover_connection_methods: false,
  i18n: "en",
  show_background: false,
  show_connection_url_input: false,
  view_mode: "fullscreen",
};
const session = {authentication: "prebind", prebind_url: "/chat-session", bosh_service_url: config.bosh};
const credentials = {authentication: "login", credentials_url: "/chat-credentials", websocket_url: config.websocket};
const websocket = location.search === "?websocket";
converse.plugins.add("verona", {
  initialize() {
    const {api} = this._converse;
    // Logging out of the chat logs out of the site, too, so that the next user gets another session.
    api.listen.on("logout", () => logOut("/logout").then(leave));
    onLogOut(leave);
    if (websocket)
      api.listen.on("beforeAttemptNonPreboundSession", async (context, login) => {
        const fetched = await fetchForUser("/chat-credentials").catch((error) => error);
        if (fetched.password && bare(fetched.jid) === jid) return {...login, credentials: fetched};
        leave();
        return new Promise(() => {});
      });
  },
});
converse.initialize({...common, ...(websocket ? credentials : session), whitelisted_plugins: ["verona"]});
