// A small chat over Strophe. The page attaches to a warm session and is online at once.

const $ = (selector) => document.querySelector(selector);
const config = await (await fetch("/config")).json();
if (!config.user) location.replace("/");

const me = `${config.user}@${config.host}`;
const history = `messages of ${me}`;
const people = new Map(); // bare JID -> {subscription, online, pending, invited, unread}
const messages = JSON.parse(sessionStorage.getItem(history) ?? "{}"); // bare JID -> [{mine, text}]
let chosen = null;
let leaving = false;
$("#me").textContent = config.user;

const connection = new Strophe.Connection(config.bosh);
const bare = (jid) => Strophe.getBareJidFromJid(jid);
const name = (jid) => Strophe.getNodeFromJid(jid) ?? jid;
const person = (jid) => people.get(jid) ?? people.set(jid, {subscription: "none", online: new Set()}).get(jid);

connection.addHandler((message) => {
  const body = message.querySelector(":scope > body");
  const from = message.getAttribute("from");
  if (body && from && message.getAttribute("type") !== "error") {
    keep(bare(from), {mine: false, text: body.textContent});
    if (bare(from) !== chosen) person(bare(from)).unread = true;
    show();
  }
  return true;
}, null, "message");

connection.addHandler((presence) => {
  const from = presence.getAttribute("from");
  const jid = bare(from);
  if (jid === me) return true;
  const type = presence.getAttribute("type");
  if (type === "subscribe") {
    if (person(jid).subscription === "to" || person(jid).invited) accept(jid);
    else person(jid).pending = true;
  } else if (type === "unavailable") person(jid).online.delete(from);
  else if (!type) person(jid).online.add(from);
  show();
  return true;
}, null, "presence");

connection.addHandler((iq) => {
  if (![null, me].includes(iq.getAttribute("from"))) return true; // RFC 6121, 2.1.6: accept roster pushes only from our own account
  connection.send($iq({type: "result", id: iq.getAttribute("id")}));
  for (const item of iq.querySelectorAll("query > item")) {
    const jid = item.getAttribute("jid");
    if (item.getAttribute("subscription") === "remove") people.delete(jid);
    else person(jid).subscription = item.getAttribute("subscription");
  }
  show();
  return true;
}, "jabber:iq:roster", "iq", "set");

async function start() {
  const reply = await fetch("/chat-session", {method: "POST"});
  if (!reply.ok) return state((await reply.json()).error);
  const session = await reply.json();
  for (const contact of session.roster) person(contact.jid).subscription = contact.subscription;
  connection.attach(session.jid, session.sid, session.rid, changed, session.wait, session.hold);
  // Stanzas from before the handover: presence of contacts.
  const xml = `<body xmlns="http://jabber.org/protocol/httpbind">${session.stanzas.join("")}</body>`;
  const body = new DOMParser().parseFromString(xml, "text/xml").documentElement;
  connection._dataRecv({getResponse: () => body});
  // The warm presence has priority -1. Only a new initial presence brings offline messages and contact requests.
  connection.send([$pres({type: "unavailable"}).tree(), $pres().tree()]);
  connection.flush(); // attach() does not start polling if the connection object is older than 100 ms
  show();
}

function changed(status) {
  if (status === Strophe.Status.ATTACHED) state("online");
  if (status === Strophe.Status.DISCONNECTED && !leaving) {
    state("reconnecting …");
    setTimeout(start, 2000);
  }
}

function state(text) {
  $("#state").textContent = text;
  $("#state").classList.toggle("online", text === "online");
}

function keep(jid, message) {
  (messages[jid] ??= []).push(message);
  sessionStorage.setItem(history, JSON.stringify(messages));
}

function accept(jid) {
  person(jid).pending = false;
  connection.send($pres({to: jid, type: "subscribed"}));
  if (!["to", "both"].includes(person(jid).subscription)) connection.send($pres({to: jid, type: "subscribe"}));
  show();
}

function show() {
  $("#contacts").replaceChildren(...[...people].sort(([a], [b]) => a.localeCompare(b)).map(([jid, it]) => {
    const entry = document.createElement("li");
    entry.className = [it.online.size && "online", it.unread && "unread", jid === chosen && "chosen"].filter(Boolean).join(" ");
    const open = document.createElement("button");
    open.textContent = name(jid);
    open.onclick = () => choose(jid);
    entry.append(open);
    if (it.pending) {
      const button = document.createElement("button");
      button.className = "accept";
      button.textContent = "Accept";
      button.onclick = () => accept(jid);
      entry.append(button);
    }
    return entry;
  }));
  $("#messages").replaceChildren(...(messages[chosen] ?? []).map((message) => {
    const entry = document.createElement("li");
    entry.className = message.mine ? "mine" : "theirs";
    entry.textContent = message.text;
    return entry;
  }));
  $("#messages").lastElementChild?.scrollIntoView();
}

function choose(jid) {
  chosen = jid;
  person(jid).unread = false;
  for (const field of $("#send").elements) field.disabled = false;
  $("#send").text.placeholder = `Write to ${name(jid)}`;
  $("#send").text.focus();
  show();
}

$("#add").onsubmit = (event) => {
  event.preventDefault();
  const jid = `${event.target.contact.value.toLowerCase()}@${config.host}`;
  event.target.reset();
  if (jid === me) return;
  person(jid).invited = true;
  connection.send($pres({to: jid, type: "subscribe"}));
  choose(jid);
};

$("#send").onsubmit = (event) => {
  event.preventDefault();
  const text = event.target.text.value;
  if (!text) return;
  connection.send($msg({to: chosen, type: "chat"}).c("body").t(text));
  keep(chosen, {mine: true, text});
  event.target.reset();
  show();
};

$("#logout").onclick = async () => {
  leave();
  sessionStorage.clear();
  await fetch("/logout", {method: "POST"});
  location.replace("/");
};

// Closing the window ends the session at once, so that the server stores later messages.
window.addEventListener("pagehide", leave);
window.addEventListener("pageshow", (event) => event.persisted && location.reload());

function leave() {
  if (leaving || !connection.authenticated) return;
  leaving = true;
  const body = document.implementation.createDocument("http://jabber.org/protocol/httpbind", "body").documentElement;
  for (const [key, value] of Object.entries({rid: connection._proto.rid, sid: connection._proto.sid, type: "terminate"}))
    body.setAttribute(key, value);
  navigator.sendBeacon(config.bosh, new XMLSerializer().serializeToString(body));
}

await start();
