// Node: `chatSession` is what brings your users online; the login around it stands for your own.
// Node 18 or newer, no packages.
//
//     WARMSIDE_PASSWORD=... PORT=3000 node node_app.mjs

import {randomBytes} from "node:crypto";
import {createServer} from "node:http";

const {WARMSIDE = "http://127.0.0.1:5281", WARMSIDE_PASSWORD, CHAT_HOST = "example.org", PORT = "3000"} = process.env;
const users = new Map(); // session cookie -> user

// JID, SID and RID for whoever is logged in here. Nothing that the browser sends has a say in who that is.
async function chatSession(user) {
  if (!user) return [403, {error: "log in first"}];
  try {
    const reply = await fetch(`${WARMSIDE}/warm`, {
      method: "POST",
      headers: {
        Authorization: "Basic " + Buffer.from(`webapp:${WARMSIDE_PASSWORD}`).toString("base64"),
        Accept: "application/json",
        "Content-Type": "application/json",
      },
      body: JSON.stringify({jid: `${user}@${CHAT_HOST}`}), // bare: each tab gets a session of its own
      signal: AbortSignal.timeout(15_000),
    });
    if (reply.ok) return [200, await reply.json()];
    console.error(`warmside answered ${reply.status}: ${(await reply.text()).slice(0, 500)}`);
  } catch (error) {
    console.error(`warmside can't be reached: ${error.message}`);
  }
  return [502, {error: "the chat is not available now"}];
}

createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  const cookie = /(?:^|; )id=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
  const answer = (status, members, headers = {}) => {
    response.writeHead(status, {"Content-Type": "application/json", "Cache-Control": "no-store", ...headers});
    response.end(JSON.stringify(members));
  };
  if (path === "/chat-session") return answer(...(await chatSession(users.get(cookie))));
  if (path === "/login" && request.method === "POST") {
    // Your own login. This one believes everybody.
    let body = "";
    for await (const part of request) if ((body += part).length > 1000) return request.destroy();
    // A name goes into a JID, and must have neither @ nor /.
    const user = new URLSearchParams(body).get("user");
    if (!/^[a-z0-9.-]{1,40}$/.test(user)) return answer(403, {error: "no such user"});
    const id = randomBytes(32).toString("base64url");
    users.set(id, user);
    return answer(200, {}, {"Set-Cookie": `id=${id}; HttpOnly; SameSite=Lax; Path=/`});
  }
  if (path === "/logout" && request.method === "POST") {
    // The page has ended its chat session before it comes here; see session.js.
    users.delete(cookie);
    return answer(200, {});
  }
  return answer(404, {error: "not found"});
}).listen(Number(PORT), "127.0.0.1");
