// @xmpp/client with one-time passwords: prints its state and the messages to the user. Node 18 or newer.
//
//     npm install @xmpp/client@0.14.0 ws@8
//     SERVICE=wss://example.org/ws CREDENTIALS_URL=https://example.org/chat-credentials COOKIE=... node xmpp_client.mjs

import {webcrypto} from "node:crypto";
import {client, xml} from "@xmpp/client";
import {WebSocket} from "ws";
import {fetchCredential} from "./credential.mjs";

globalThis.WebSocket ??= WebSocket; // Node before 22 has none
globalThis.crypto ??= webcrypto; // Node 18 has none
const {SERVICE, DOMAIN = "example.org"} = process.env;

const xmpp = client({
  service: SERVICE,
  domain: DOMAIN,
  credentials: async (authenticate) => {
    try {
      const {jid, password} = await fetchCredential(); // a new one for each login
      await authenticate({username: jid.split("@")[0], password}, "PLAIN");
    } catch (error) {
      if (error.name !== "SASLError") xmpp.reconnect.stop(); // logged out
      xmpp.disconnect(); // without this, the stream stays open and nothing follows
      throw error;
    }
  },
});

xmpp.on("online", async (jid) => {
  console.log(`online ${jid}`);
  await xmpp.send(xml("presence"));
});
xmpp.streamManagement.on("resumed", () => console.log(`resumed ${xmpp.jid}`));
xmpp.on("disconnect", () => console.log("offline"));
xmpp.on("error", (error) => console.log(`error ${error.message}`));
xmpp.on("stanza", (stanza) => {
  const text = stanza.is("message") && stanza.getChildText("body");
  if (text) console.log(`${stanza.attrs.from}: ${text}`);
});

xmpp.start().catch((error) => console.log(`start ${error.stack}`));
