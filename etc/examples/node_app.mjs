// Node: `chatSession` gets the chat session; the login stands for your own.
// Node 18 or newer, no packages.
//
//     WARMSIDE_PASSWORD=... PORT=3000 node node_app.mjs

import {randomBytes} from "node:crypto";
import {createServer} from "node:http";

const {WARMSIDE = "http://127.0.0.1:5281", WARMSIDE_PASSWORD, CHAT_HOST = "example.org", PORT = "3000"} = process.env;
const users = new Map(); // session cookie -> user

// Return JID, SID and RID for the logged-in user. The JID comes from the login, never from the browser.
async function chatSession(user) {
  if (!user) return [401, {error: "log in first"}];
  try {
    const reply = await fetch(`${WARMSIDE}/warm`, {
      method: "POST",
      headers: {
        Authorization: "Basic " + Buffer.from(`webapp:${WARMSIDE_PASSWORD}`).toString("base64"),
        Accept: "application/json",
        "Content-Type": "application/json",
      },
      body: JSON.stringify({jid: `${user}@${CHAT_HOST}`}), // a bare JID: each tab gets its own session
      signal: AbortSignal.timeout(15_000),
    });
    if (reply.ok) return [200, await reply.json()];
    console.error(`warmside: status ${reply.status}: ${(await reply.text()).slice(0, 500)}`);
  } catch (error) {
    console.error(`warmside: request failed: ${error.message}`);
  }
  return [502, {error: "the chat is not available; try again later"}];
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
    // Replace this with your own login: it checks no password.
    let body = "";
    for await (const part of request) if ((body += part).length > 1000) return request.destroy();
    // A name with @ or / would change the JID.
    const user = new URLSearchParams(body).get("user");
    if (!/^[a-z0-9.-]{1,40}$/.test(user)) return answer(403, {error: "no such user"});
    const id = randomBytes(32).toString("base64url");
    users.set(id, user);
    return answer(200, {}, {"Set-Cookie": `id=${id}; HttpOnly; SameSite=Lax; Path=/`});
  }
  if (path === "/logout" && request.method === "POST") {
    // The page ends its chat session before it calls this.
    users.delete(cookie);
    return answer(200, {});
  }
  return answer(404, {error: "not found"});
}).listen(Number(PORT), "127.0.0.1");
