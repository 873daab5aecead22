// The page strophe.html: shows the state and the messages, and sends messages.

import {ChatSession} from "./session.js";

const $ = (selector) => document.querySelector(selector);
const {bosh, session: url, logout} = document.body.dataset;

const chat = new ChatSession({
  bosh,
  url,
  prepare(connection) {
    connection.addHandler((message) => {
      const body = message.querySelector(":scope > body");
      const text = message.getAttribute("type") === "error" ? "not delivered" : body?.textContent;
      if (text !== undefined) add(`${message.getAttribute("from")}: ${text}`);
      return true; // keep the handler
    }, null, "message");
  },
  changed(state, text) {
    $("#state").textContent = text && text !== state ? `${state}: ${text}` : state;
    $("#state").dataset.state = state;
    $("#me").textContent = chat.user ?? "";
    $("#send button").disabled = state !== "online";
    if (state === "logged out") {
      $("#messages").replaceChildren(); // the next user may be another one
      $("#send").reset();
    }
  },
});

function add(text) {
  const entry = document.createElement("li");
  entry.textContent = text;
  $("#messages").append(entry);
}

$("#send").onsubmit = (event) => {
  event.preventDefault();
  const {to, text} = event.target.elements;
  chat.connection.send($msg({to: to.value, type: "chat"}).c("body").t(text.value));
  chat.connection.flush(); // sends now, and not after 100 ms
  add(`${chat.user}: ${text.value}`);
  text.value = "";
};

$("#logout").onclick = () => chat.logOut(logout);

chat.start();
