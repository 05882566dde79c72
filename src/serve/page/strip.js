// strip.js - the line at the foot: what the server is doing, from /metrics, and how the last answer went.
import { headers } from "./stream.js";

const put = (id, text) => { document.getElementById(id).textContent = text; };

// Prometheus text to {"name{labels}": value}.
function parseMetrics(text) {
  const values = {};
  for (const line of text.split("\n")) {
    const match = line.match(/^([a-z_]+(?:\{[^}]*\})?)\s+([-+.\deE]+)/);
    if (match) values[match[1]] = Number(match[2]);
  }
  return values;
}

export function showSpeed(message) {
  const alula = message.stats?.alula;
  if (!alula) return;
  if (alula.decode_tok_s) put("strip-speed", `${alula.decode_tok_s.toFixed(1)} tok/s`);
  const share = (alula.drafted ?? []).map((n, d) => (n ? `${Math.round((100 * alula.accepted[d]) / n)} %` : null));
  put("strip-depth", share.filter(Boolean).join(" · ") || "none drafted");
}

async function poll(key) {
  try {
    const response = await fetch("metrics", { headers: headers(key()) });
    if (!response.ok) throw new Error(response.status === 401 ? "the server wants its key (Settings)" : "the server is unwell");
    const m = parseMetrics(await response.text());
    const prompt = m.alula_prompt_tokens_total ?? 0, cached = m.alula_prompt_tokens_cached_total ?? 0;
    put("strip-cache", prompt ? `${Math.round((100 * cached) / prompt)} %` : "–");
    put("strip-running", m.alula_requests_running ?? 0);
    put("strip-queue", m.alula_requests_waiting ?? 0);
  } catch (error) {
    put("strip-running", error instanceof TypeError ? "server not reached" : error.message);
    put("strip-queue", "–");
  }
}

// Looks once a second, while the page is seen.
export function watchServer(key) {
  poll(key);
  setInterval(() => { if (!document.hidden) poll(key); }, 1000);
}
