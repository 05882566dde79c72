// view.js - a message as the page shows it. Knows the templates; must not know requests or storage.
import { makeCopy } from "./copy.js";
import { renderMarkdown } from "./markdown.js";

const names = { user: "You", assistant: "Answer", tool: "Tool result" };
const stamp = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function showPieces(body, message) {
  body.replaceChildren(...message.pieces.map((piece) => {
    const span = document.createElement("span");
    span.className = piece.drafted ? "raw drafted" : "raw";
    span.textContent = piece.text;
    return span;
  }));
}

export function statsText(message) {
  const { usage, alula } = message.stats ?? {};
  if (!usage) return "";
  const words = [`${usage.completion_tokens} tokens`];
  if (alula?.decode_tok_s) words.push(`${alula.decode_tok_s.toFixed(1)} tok/s`);
  const cached = usage.prompt_tokens_details?.cached_tokens;
  if (cached !== undefined) words.push(`${cached} of ${usage.prompt_tokens} prompt tokens from cache`);
  if (message.finish === "length") words.push("cut at the limit");
  return words.join(" · ");
}

// Brings the article up to date with its message.
export function showMessage(article, message, { busy, shade }) {
  const body = article.querySelector(".body"), reasoning = article.querySelector(".reasoning");
  article.classList.toggle("busy", busy);
  article.setAttribute("aria-busy", busy);
  reasoning.hidden = !message.reasoning_content;
  reasoning.querySelector(".text").textContent = message.reasoning_content ?? "";
  reasoning.querySelector("summary").textContent = busy && !message.content ? "Reasoning …" : "Reasoning";
  if (message.role !== "assistant") body.textContent = message.content;
  else if (shade && message.pieces?.length) showPieces(body, message);
  else body.replaceChildren(...renderMarkdown(message.content ?? ""));
  const error = article.querySelector(".error");
  error.hidden = !message.error;
  error.textContent = message.error ?? "";
  article.querySelector(".stats").textContent = statsText(message);
}

// `giveResult(id, text)` is called when the reader answers a tool call; open: whether one may.
export function showCalls(article, message, open, giveResult) {
  article.querySelector(".calls").replaceChildren(...(message.tool_calls ?? []).map((call) => {
    const section = stamp("call-template"), form = section.querySelector("form");
    section.querySelector("h3").textContent = `Calls ${call.function.name}`;
    section.querySelector("pre").textContent = prettyJson(call.function.arguments);
    form.hidden = !open(call.id);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      giveResult(call.id, form.querySelector("textarea").value);
    });
    return section;
  }));
}

export function makeArticle(message, { edit, retry }) {
  const article = stamp("message-template");
  article.classList.add(message.role);
  article.querySelector(".who").textContent = names[message.role] ?? message.role;
  makeCopy(article.querySelector(".copy"), () => message.content ?? "");
  article.querySelector(".edit").hidden = message.role !== "user";
  article.querySelector(".edit").addEventListener("click", edit);
  article.querySelector(".retry").hidden = message.role !== "assistant";
  article.querySelector(".retry").addEventListener("click", retry);
  return article;
}
