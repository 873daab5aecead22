// A small chat over Strophe. The page attaches to a warm session and is online at once.

import {ChatSession} from "/examples/session.js";

const $ = (selector) => document.querySelector(selector);
const config = JSON.parse($("#config").textContent);
if (!config.user) location.replace("/");

const me = `${config.user}@${config.host}`;
const history = `chat-user messages of ${me}`; // cleared when the user changes
const people = new Map(); // bare JID -> {subscription, online, pending, invited, unread}
const messages = JSON.parse(sessionStorage.getItem(history) ?? "{}"); // bare JID -> [{mine, text}]
let chosen = null;
$("#me").textContent = config.user;

const bare = (jid) => Strophe.getBareJidFromJid(jid);
const name = (jid) => Strophe.getNodeFromJid(jid) ?? jid;
const person = (jid) => people.get(jid) ?? people.set(jid, {subscription: "none", online: new Set()}).get(jid);

const chat = new ChatSession({
  bosh: config.bosh,
  prepare(connection, session) {
    for (const contact of session.roster) person(contact.jid).subscription = contact.subscription;
    for (const it of people.values()) it.online.clear();

    connection.addHandler((message) => {
      const body = message.querySelector(":scope > body");
      const from = message.getAttribute("from");
      if (body && from && message.getAttribute("type") !== "error") {
        keep(bare(from), {mine: false, text: body.textContent});
        if (!chosen) choose(bare(from));
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
    if (!chosen && Object.keys(messages).length) choose(Object.keys(messages)[0]);
    show();
  },
  changed(status, text) {
    if (status === "logged out") location.replace("/");
    else state(text.startsWith("log-out failed") ? text : status);
  },
});
chat.user = me; // the session of another user is rejected

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
  chat.connection.send($pres({to: jid, type: "subscribed"}));
  if (!["to", "both"].includes(person(jid).subscription)) chat.connection.send($pres({to: jid, type: "subscribe"}));
  show();
}

function show() {
  $("#contacts").replaceChildren(...[...people].sort(([a], [b]) => a.localeCompare(b)).map(([jid, it]) => {
    const entry = document.createElement("li");
    entry.className = [it.online.size && "online", it.unread && "unread", jid === chosen && "chosen"].filter(Boolean).join(" ");
    const open = document.createElement("button");
    open.textContent = name(jid);
    open.onclick = () => choose(jid, true);
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
  $("#empty").textContent = chosen ? "" : people.size ? "Choose a contact." : "Add a contact, such as juliet or romeo.";
}

function choose(jid, focus = false) {
  chosen = jid;
  person(jid).unread = false;
  for (const field of $("#send").elements) field.disabled = false;
  $("#send").text.placeholder = `Write to ${name(jid)}`;
  if (focus) $("#send").text.focus();
  show();
}

$("#add").onsubmit = (event) => {
  event.preventDefault();
  const jid = `${event.target.contact.value.toLowerCase()}@${config.host}`;
  event.target.reset();
  if (jid === me) return;
  person(jid).invited = true;
  chat.connection.send($pres({to: jid, type: "subscribe"}));
  choose(jid, true);
};

$("#send").onsubmit = (event) => {
  event.preventDefault();
  const text = event.target.text.value;
  if (!text) return;
  chat.connection.send($msg({to: chosen, type: "chat"}).c("body").t(text));
  keep(chosen, {mine: true, text});
  event.target.reset();
  show();
};

$("#logout").onclick = () => chat.logOut();

await chat.start();
