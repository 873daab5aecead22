// Node with a chat: sign-up, log-in, session, log-out. The accounts stand for your own. Node 18 or newer, no packages.
//
//     WARMSIDE_PASSWORD=... PORT=3000 node node_app.mjs

import {randomBytes} from "node:crypto";
import {createServer} from "node:http";
import {announce, chatJid, ChatRefused, ChatUnavailable, credential, end, LoggedOut, warm} from "./warmside_client.mjs";

const jids = new Map(); // name -> bare JID: in your database, a unique column
const users = new Map(); // session cookie -> name

// Return the JID of the logged-in user. It comes from the login, never from the browser.
function jidOf(visit) {
  const jid = jids.get(users.get(visit.cookie));
  if (!jid) throw new LoggedOut();
  return jid;
}

// Create an account: the user exists for ejabberd from now on.
async function signUp(visit) {
  const jid = await announce(chatJid(visit.name));
  if (jids.has(visit.name) || [...jids.values()].includes(jid)) return [409, {error: "this name is taken"}];
  jids.set(visit.name, jid);
  return logIn(visit);
}

// Replace this with your own login: it checks no password.
function logIn({name}) {
  if (!jids.has(name)) return [403, {error: "no such user"}];
  const id = randomBytes(32).toString("base64url");
  users.set(id, name);
  return [200, {jid: jids.get(name)}, {"Set-Cookie": `id=${id}; HttpOnly; SameSite=Lax; Path=/`}];
}

// Log out: the cookie first, then every chat session of the user.
async function logOut(visit) {
  const jid = jids.get(users.get(visit.cookie));
  users.delete(visit.cookie);
  if (jid) await end(jid);
  return [200, {}];
}

const views = {
  "POST /signup": signUp,
  "POST /login": logIn,
  "POST /logout": logOut,
  "GET /chat-user": (visit) => [200, {jid: jidOf(visit)}],
  "POST /chat-session": async (visit) => [200, await warm(jidOf(visit))],
  "POST /chat-credentials": async (visit) => [200, await credential(jidOf(visit))],
  // A web server asks it before a browser may connect to /ws; see etc/proxies.
  "GET /chat-allowed": (visit) => [204, {jid: jidOf(visit)}],
};

async function respond(request) {
  let body = "";
  for await (const part of request) if ((body += part).length > 10_000) return [413, {error: "too long"}];
  const name = new URLSearchParams(body).get("user") ?? "";
  const cookie = /(?:^|; )id=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
  const view = views[`${request.method} ${new URL(request.url, "http://localhost").pathname}`];
  try {
    return view ? await view({name, cookie}) : [404, {error: "not found"}];
  } catch (error) {
    if (error instanceof LoggedOut) return [401, {error: "log in first"}];
    if (error instanceof RangeError) return [400, {error: error.message}];
    console.error(`chat: ${error.message}`);
    if (error instanceof ChatRefused) return [403, {error: "there is no chat for this account"}];
    if (!(error instanceof ChatUnavailable)) return [500, {error: "internal error"}];
    return [503, {error: "the chat is not available; try again later"}, {"Retry-After": error.retryAfter}];
  }
}

createServer(async (request, response) => {
  const [status, members, headers] = await respond(request);
  response.writeHead(status, {"Content-Type": "application/json", "Cache-Control": "no-store", ...headers});
  response.end(status === 204 ? undefined : JSON.stringify(members));
}).listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
