// stream.js - one request to /v1/chat/completions, read as it streams.

// The objects of a stream of server-sent events, up to [DONE].
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true }; // the answer lacks its end, which is told of there
    });
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

export const headers = (key) => ({
  "Content-Type": "application/json",
  ...(key && { Authorization: `Bearer ${key}` }),
});

async function failure(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}

// Adds a piece of text, remembering whether a draft foretold it: neighbours of one kind are one piece.
function addPiece(message, text, drafted) {
  const last = message.pieces.at(-1);
  if (last && last.drafted === drafted) last.text += text;
  else message.pieces.push({ text, drafted });
}

function addCall(message, call) {
  const at = message.tool_calls[call.index] ??= { id: "", type: "function", function: { name: "", arguments: "" } };
  if (call.id) at.id = call.id;
  if (call.function?.name) at.function.name += call.function.name;
  if (call.function?.arguments) at.function.arguments += call.function.arguments;
}

// Streams the answer to `request` into `message` {content, reasoning_content, tool_calls, pieces, stats, finish},
// calling `changed` after each chunk. Throws an Error whose message is fit to be shown.
export async function streamAnswer(request, key, message, signal, changed) {
  const response = await fetch("v1/chat/completions", {
    method: "POST", headers: headers(key), body: JSON.stringify(request), signal,
  }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached.");
  });
  if (!response.ok) throw new Error(await failure(response));
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices?.[0], delta = choice?.delta ?? {};
    if (delta.reasoning_content) message.reasoning_content += delta.reasoning_content;
    if (delta.content) {
      message.content += delta.content;
      addPiece(message, delta.content, chunk.alula?.drafted === true);
    }
    for (const call of delta.tool_calls ?? []) addCall(message, call);
    if (choice?.finish_reason) message.finish = choice.finish_reason;
    if (chunk.usage) message.stats = { usage: chunk.usage, alula: chunk.alula ?? message.stats?.alula };
    changed();
  }
  if (!message.finish) throw new Error("The answer broke off: the server closed the connection.");
}
