// The login of the demo: a name is enough.

const form = document.getElementById("login");
for (const button of document.querySelectorAll("#people button"))
  button.onclick = () => { form.elements.name.value = button.textContent; form.requestSubmit(); };
form.onsubmit = async (event) => {
  event.preventDefault();
  const reply = await fetch("/login", {method: "POST", body: form.elements.name.value});
  if (reply.ok) location.href = form.elements.client.value;
  else document.getElementById("error").textContent = (await reply.json()).error;
};
