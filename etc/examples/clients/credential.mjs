// One-time passwords from the web application. Node 18 or newer.
// Set CREDENTIALS_URL and COOKIE, the cookie of the user's login, in the environment.

import {setTimeout as wait} from "node:timers/promises";

const {CREDENTIALS_URL, COOKIE} = process.env;

// The user is not logged in to the application.
export class LoggedOut extends Error {}

// Return {jid, password}. Network errors, 408, 429 and 5xx are retried after 1 s, 2 s, 4 s … 60 s, each between half and
// all of the delay. 401 throws LoggedOut, any other status an Error.
export async function fetchCredential() {
  const headers = {Accept: "application/json", Cookie: COOKIE};
  for (let delay = 1000; ; delay = Math.min(2 * delay, 60_000)) {
    try {
      const signal = AbortSignal.timeout(30_000);
      const reply = await fetch(CREDENTIALS_URL, {method: "POST", headers, signal, redirect: "error"});
      if (reply.ok) return await reply.json();
      if (reply.status === 401) throw new LoggedOut("logged out");
      if (reply.status < 500 && ![408, 429].includes(reply.status)) throw new RangeError(`status ${reply.status}`);
    } catch (error) {
      if (error instanceof LoggedOut || error instanceof RangeError) throw error;
    }
    await wait(delay * (0.5 + Math.random() / 2));
  }
}
