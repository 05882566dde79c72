// app.js - the page: a conversation kept in this browser, and what the buttons do to it.
import { headers, streamAnswer } from "./stream.js";
import { makeArticle, showCalls, showMessage } from "./view.js";
import { showSpeed, watchServer } from "./strip.js";

const $ = (id) => document.getElementById(id);
const log = $("log"), prompt = $("prompt"), parameters = $("parameters");

// ---- what is kept ---------------------------------------------------------------------------------------

function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`alula.${name}`)) ?? otherwise;
  } catch {
    return otherwise; // damaged, or the browser keeps nothing
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`alula.${name}`, JSON.stringify(value));
  } catch {
    // full, or the browser keeps nothing: the page goes on without
  }
}

let messages = load("messages", []);
let running = null; // AbortController of the answer that streams
let shade = load("shade", false);
let model = "";

const field = (name) => parameters.elements[name];
const key = () => field("key").value.trim();

function loadParameters() {
  const saved = load("parameters", {});
  for (const input of parameters.elements) {
    if (input.type === "checkbox") input.checked = saved[input.name] ?? input.checked;
    else if (input.name in saved) input.value = saved[input.name];
  }
}

function keepParameters() {
  const values = {};
  for (const input of parameters.elements) values[input.name] = input.type === "checkbox" ? input.checked : input.value;
  keep("parameters", values);
}

// ---- showing --------------------------------------------------------------------------------------------

const articles = new Map(); // message -> its article

const answered = (id) => messages.some((m) => m.role === "tool" && m.tool_call_id === id);

function show(message) {
  const busy = running !== null && message === messages.at(-1);
  showMessage(articles.get(message), message, { busy, shade });
}

function showAll() {
  const unfolded = messages.filter((message) => articles.get(message)?.querySelector("details").open);
  articles.clear();
  log.replaceChildren(...messages.map((message, at) => {
    const article = makeArticle(message, { edit: () => edit(at), retry: () => retry(at) });
    article.querySelector("details").open = unfolded.includes(message);
    articles.set(message, article);
    showCalls(article, message, (id) => !running && !answered(id), giveResult);
    show(message);
    return article;
  }));
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
}

// Follows the end of the text unless the reader has scrolled up.
function followEnd(change) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showError(text) {
  $("tools-error").textContent = text;
  $("tools-error").hidden = !text;
}

// ---- asking ---------------------------------------------------------------------------------------------

function toolsOf() {
  const text = field("tools").value.trim();
  if (!text) return undefined;
  try {
    const tools = JSON.parse(text);
    if (!Array.isArray(tools)) throw new Error("it is no array");
    showError("");
    return tools;
  } catch (error) {
    showError(`Tools are left out: ${error.message}.`);
    return undefined;
  }
}

// A message as the interface takes it: what was only for showing stays here.
function wire({ role, content, reasoning_content, tool_calls, tool_call_id }) {
  return {
    role, content,
    ...(reasoning_content && { reasoning_content }),
    ...(tool_calls?.length && { tool_calls }),
    ...(tool_call_id && { tool_call_id }),
  };
}

// Answers that failed before they began are no part of the conversation.
const said = (message) => !message.error || message.content || message.tool_calls?.length;

function request() {
  const system = field("system").value.trim();
  const body = {
    model, stream: true, stream_options: { include_usage: true }, alula: { trace: true },
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages.slice(0, -1).filter(said).map(wire)],
    chat_template_kwargs: { enable_thinking: field("think").checked },
    tools: toolsOf(),
  };
  for (const name of ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "depth"]) {
    if (field(name).value !== "") body[name] = Number(field(name).value);
  }
  return body;
}

// Streams the answer that the last message, an empty one of the assistant, waits for.
async function ask() {
  const message = { role: "assistant", content: "", reasoning_content: "", tool_calls: [], pieces: [] };
  messages.push(message);
  running = new AbortController();
  showAll();
  log.scrollTop = log.scrollHeight;
  let drawn = true;
  const draw = () => {
    drawn = true;
    if (articles.has(message)) followEnd(() => show(message));
  };
  try {
    await streamAnswer(request(), key(), message, running.signal, () => {
      if (drawn) requestAnimationFrame(draw);
      drawn = false;
    });
    showSpeed(message);
  } catch (error) {
    if (error.name === "AbortError") message.finish = "stopped";
    else message.error = error.message;
  }
  running = null;
  keep("messages", messages);
  followEnd(showAll);
}

function send(text) {
  if (running || !text.trim()) return;
  messages.push({ role: "user", content: text });
  ask();
}

function giveResult(id, text) {
  messages.push({ role: "tool", tool_call_id: id, content: text });
  const call = messages.findLast((m) => m.role === "assistant");
  keep("messages", messages);
  if (call.tool_calls.every((one) => answered(one.id))) ask();
  else showAll();
}

function edit(at) {
  if (running) return;
  prompt.value = messages[at].content;
  messages = messages.slice(0, at);
  keep("messages", messages);
  showAll();
  fit();
  prompt.focus();
}

function retry(at) {
  if (running) return;
  messages = messages.slice(0, at);
  ask();
}

// ---- wiring ---------------------------------------------------------------------------------------------

function fit() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

function submit() {
  const text = prompt.value;
  if (running || !text.trim()) return;
  prompt.value = "";
  fit();
  send(text);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  keep("theme", theme);
}

function toggleSettings(open) {
  $("settings").hidden = !open;
  $("open-settings").setAttribute("aria-expanded", open);
  if (open) field("system").focus();
}

function wireButtons() {
  $("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("stop").addEventListener("click", () => running?.abort());
  $("new").addEventListener("click", () => {
    running?.abort();
    messages = [];
    keep("messages", messages);
    showAll();
    prompt.focus();
  });
  $("shade").addEventListener("click", () => {
    shade = !shade;
    keep("shade", shade);
    $("shade").setAttribute("aria-pressed", shade);
    messages.forEach(show);
  });
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("open-settings").addEventListener("click", () => toggleSettings($("settings").hidden));
  parameters.addEventListener("input", () => { keepParameters(); toolsOf(); });
  field("key").addEventListener("change", nameModel);
}

function wireKeys() {
  prompt.addEventListener("input", fit);
  prompt.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && prompt.value === "") {
      const at = messages.findLastIndex((m) => m.role === "user");
      if (at >= 0) { event.preventDefault(); edit(at); }
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (running) running.abort();
    else if (!$("settings").hidden) { toggleSettings(false); $("open-settings").focus(); }
  });
}

async function nameModel() {
  try {
    const response = await fetch("v1/models", { headers: headers(key()) });
    model = (await response.json()).data[0].id;
    $("model").textContent = model;
    document.title = `${model} · alula`;
  } catch {
    $("model").textContent = "";
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = load("theme", dark ? "dark" : "light");
$("shade").setAttribute("aria-pressed", shade);
loadParameters();
wireButtons();
wireKeys();
showAll();
log.scrollTop = log.scrollHeight;
nameModel();
watchServer(key);
prompt.focus();
