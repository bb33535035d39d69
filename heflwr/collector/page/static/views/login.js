// The way in, where the collector asks readers for a token.

import { login } from "../api.js";
import { h } from "../dom.js";
import { remember } from "../keep.js";

export function loginForm(entered) {
  const field = h("input", {
    type: "password",
    name: "token",
    autocomplete: "current-password",
    required: true,
    spellcheck: "false",
  });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const button = h("button", { class: "primary" }, "Enter");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = "";
    try {
      await login(field.value.trim());
      remember("entered", "yes"); // there is a way out to show
      entered();
    } catch (error) {
      wrong.textContent =
        error.status === 403 || error.status === 401 ? "That token does not open this collector." : error.message;
      button.disabled = false;
      field.select();
    }
  };
  return h(
    "form",
    { class: "login", onsubmit: submit },
    h("h1", {}, "This collector is locked"),
    h(
      "p",
      {},
      "Reading needs a token. Whoever runs the collector makes one with ",
      h("code", {}, "heflwr collector token add"),
      ".",
    ),
    h("label", {}, "Read token", field),
    wrong,
    button,
  );
}
