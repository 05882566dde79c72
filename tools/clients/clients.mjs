// Do OpenAI's and Anthropic's libraries for Node work with alula's server, unchanged? Usage: clients.mjs URL KEY. Run by check.sh.
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";

const [url, key] = process.argv.slice(2);
const o = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const a = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const hello = [{ role: "user", content: "Say something about the sea." }];
const parameters = {
  type: "object", properties: { city: { type: "string", maxLength: 12 } }, required: ["city"], additionalProperties: false,
};
let passed = 0, failed = 0;

function check(name, good, found = "") {
  good ? passed++ : failed++;
  console.log(`${good ? "ok  " : "FAIL"}  ${name}  ${good ? "" : JSON.stringify(found)}`);
}

async function raises(name, kind, run) {
  try {
    await run();
    check(name, false, "nothing was raised");
  } catch (error) {
    check(name, error instanceof kind, `${error.constructor.name}: ${error.message}`);
  }
}

async function openaiChat() {
  const request = { model: "x", messages: hello, max_tokens: 24, temperature: 0.8, seed: 5 };
  const whole = await o.chat.completions.create(request);
  check("node openai: a chat", whole.choices[0].message.content && whole.usage.total_tokens > 0, whole);
  let text = "";
  for await (const chunk of await o.chat.completions.create({ ...request, stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
  check("node openai: a stream is the same text", text === whole.choices[0].message.content, text);
  const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
  const stream = o.chat.completions.stream({ model: "x", messages: hello, tools, tool_choice: "required", max_tokens: 200 });
  const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
  check("node openai: a streamed call", typeof JSON.parse(call.function.arguments).city === "string", call);
  const format = { type: "json_schema", json_schema: { name: "n", strict: true, schema: parameters } };
  const parsed = await o.chat.completions.parse({ model: "x", messages: hello, response_format: format, max_tokens: 200 });
  check("node openai: json_schema", typeof parsed.choices[0].message.parsed.city === "string", parsed);
  const response = await o.responses.create({ model: "x", input: "Hello", reasoning: { effort: "none" }, max_output_tokens: 12 });
  check("node openai: a response", response.output_text.length > 0, response);
  let streamed = "";
  for await (const event of await o.responses.create({ model: "x", input: "Hello", reasoning: { effort: "none" }, max_output_tokens: 12, stream: true }))
    if (event.type === "response.output_text.delta") streamed += event.delta;
  check("node openai: a streamed response", streamed === response.output_text, streamed);
}

async function openaiErrors() {
  await raises("node openai: a wrong key", OpenAI.AuthenticationError, () => new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 }).models.list());
  await raises("node openai: a wrong value", OpenAI.BadRequestError, () => o.chat.completions.create({ model: "x", messages: hello, temperature: -1 }));
  await raises("node openai: what is not there", OpenAI.NotFoundError, () => o.embeddings.create({ model: "x", input: "a" }));
  const abort = new AbortController();
  await raises("node openai: an abort", OpenAI.APIUserAbortError, async () => {
    const stream = await o.chat.completions.create({ model: "x", messages: hello, max_tokens: 4000, stream: true }, { signal: abort.signal });
    for await (const chunk of stream) if (chunk.choices[0]?.delta?.content) abort.abort();
    throw new OpenAI.APIUserAbortError(); // some versions end the loop without a word
  });
}

async function anthropicMessages() {
  const request = { model: "x", max_tokens: 24, messages: hello, temperature: 0 };
  const whole = await a.messages.create(request);
  check("node anthropic: a message", whole.content[0].text && whole.usage.output_tokens > 0, whole);
  const final = await a.messages.stream(request).finalMessage();
  check("node anthropic: a stream is the same message", final.content[0].text === whole.content[0].text, final);
  const tools = [{ name: "get_weather", input_schema: parameters }];
  const called = await a.messages.stream({ ...request, max_tokens: 200, tools, tool_choice: { type: "any" } }).finalMessage();
  const use = called.content.find((block) => block.type === "tool_use");
  check("node anthropic: a streamed call", called.stop_reason === "tool_use" && typeof use.input.city === "string", called);
  await raises("node anthropic: a wrong key", Anthropic.AuthenticationError, () => new Anthropic({ baseURL: url, apiKey: "wrong", maxRetries: 0 }).messages.create(request));
  await raises("node anthropic: a wrong type", Anthropic.BadRequestError, () => a.messages.create({ ...request, top_k: "many" }));
}

for (const part of [openaiChat, openaiErrors, anthropicMessages]) {
  try {
    await part();
  } catch (error) {
    check(part.name, false, `${error.constructor.name}: ${error.message}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
