// stanza with one-time passwords: prints its state and the messages to the user. Node 18 or newer.
//
//     npm install stanza@12.22.1
//     SERVICE=wss://example.org/ws CREDENTIALS_URL=https://example.org/chat-credentials COOKIE=... node stanza_client.mjs

import {createClient} from "stanza";
import {fetchCredential} from "./credential.mjs";

const {jid} = await fetchCredential();
const client = createClient({
  jid,
  transports: {websocket: process.env.SERVICE, bosh: false},
  autoReconnect: true,
});
client.getCredentials = async () => {
  try {
    const {jid, password} = await fetchCredential(); // a new one for each login
    return {username: jid.split("@")[0], password};
  } catch (error) {
    console.log(`error ${error.message}`);
    client.disconnect(); // logged out: ends autoReconnect, too
    throw error;
  }
};

client.on("session:started", () => {
  console.log(`online ${client.jid}`);
  client.sendPresence();
});
client.on("stream:management:resumed", () => console.log(`resumed ${client.jid}`));
client.on("disconnected", () => console.log("offline"));
client.on("message", (message) => message.body && console.log(`${message.from}: ${message.body}`));

client.connect();
