// Is the web page what it says? In headless Chromium against a running server: type, stream, stop, edit, retry, reload, tool call,
// dark, narrow. Usage: page.mjs URL KEY CHROMIUM FOLDER; screenshots are left in FOLDER. Run by check.sh.
import { chromium } from "playwright-core";

const [url, key, executablePath, folder] = process.argv.slice(2);
let passed = 0, failed = 0;
const faults = [];

function check(name, good, found = "") {
  good ? passed++ : failed++;
  console.log(`${good ? "ok  " : "FAIL"}  ${name}  ${good ? "" : JSON.stringify(found)}`);
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1100, height: 760 }, colorScheme: "light" });
page.on("pageerror", (error) => faults.push(error.message));
page.on("request", (request) => request.url().startsWith(url) || faults.push(`asked elsewhere: ${request.url()}`));
const shot = (name) => page.screenshot({ path: `${folder}/${name}.png` });
const idle = () => page.waitForSelector("#send:visible", { timeout: 60000 });
const last = () => page.locator(".message").last();
const set = (name, value) => page.fill(`#parameters [name=${name}]`, value);

async function ask(text) {
  await page.fill("#prompt", text);
  await page.keyboard.press("Enter");
}

await page.goto(url);
await page.click("#open-settings");
await set("key", key);
await set("max_tokens", "48");
await page.selectOption("#parameters [name=depth]", "3"); // by profit there may be no drafts at all
await page.click("#open-settings");
await page.reload();
await page.waitForFunction(() => document.querySelector("#model").textContent !== "");
check("the model's name is shown", true);

await ask("Tell me about the sea.");
await page.waitForSelector("#stop:visible");
await idle();
const answer = await last().locator(".body").innerText();
check("an answer is streamed", answer.trim().length > 0, answer);
check("what it took is shown", /tokens/.test(await last().locator(".stats").innerText()), await last().locator(".stats").innerText());
check("the strip shows speed", /tok\/s/.test(await page.innerText("#strip-speed")), await page.innerText("#strip-speed"));
await page.click("#shade");
check("drafts that were kept are shaded", (await last().locator(".drafted").count()) > 0);
await shot("shaded");
await page.click("#shade");

await page.click("#open-settings");
await set("max_tokens", "4000");
await page.click("#open-settings");
await ask("And about the hills.");
await page.waitForFunction(() => document.querySelector(".message:last-child .body").textContent.length > 20, null, { timeout: 60000 });
await page.keyboard.press("Escape");
await idle();
const cut = await last().locator(".body").innerText();
check("Escape stops an answer and keeps what came", cut.trim().length > 0, cut);
await page.reload();
check("a reload keeps the conversation", (await page.locator(".message").count()) === 4 && (await last().locator(".body").innerText()) === cut);

await page.click("#open-settings");
await set("max_tokens", "24");
await page.click("#open-settings");
await last().locator(".retry").click();
await idle();
check("retry answers anew", (await page.locator(".message").count()) === 4);
await page.focus("#prompt");
await page.keyboard.press("ArrowUp");
check("arrow up edits the last message", (await page.inputValue("#prompt")) === "And about the hills." && (await page.locator(".message").count()) === 2);

const tool = { type: "function", function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } };
await page.route("**/v1/chat/completions", async (route) => { // a small model calls nothing by itself
  const body = JSON.parse(route.request().postData());
  const demanded = body.messages.at(-1).role === "user" ? { tool_choice: "required", max_tokens: 200, parallel_tool_calls: false } : {};
  await route.continue({ postData: JSON.stringify({ ...body, ...demanded }) });
});
await page.click("#open-settings");
await set("tools", JSON.stringify([tool]));
await page.click("#open-settings");
await ask("What is the weather?");
await page.waitForSelector(".call", { timeout: 60000 });
await idle();
check("a tool call is shown", (await page.innerText(".call h3")) === "Calls get_weather" && /city/.test(await page.innerText(".call pre")));
await shot("call");
await page.fill(".call textarea", "sunny");
await page.click(".call button");
await idle();
check("its result goes back", (await page.locator(".message.tool").count()) === 1 && (await page.locator(".message").count()) === 6);
await page.unroute("**/v1/chat/completions");

await page.click("#theme");
const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
check("the dark palette", dark.match(/\d+/g).every((v) => v < 60), dark);
await shot("dark");
await page.setViewportSize({ width: 360, height: 700 });
check("360 pixels are enough", await page.evaluate(() => document.documentElement.scrollWidth <= 360));
await shot("narrow");
await page.click("#open-settings");
await shot("narrow-settings");
check("settings can be left by Escape", await page.keyboard.press("Escape").then(() => page.isHidden("#settings")));
await page.click("#new");
check("a new chat is empty", (await page.locator(".message").count()) === 0);

const asked = [];
await page.route("**/v1/chat/completions", async (route) => {
  asked.push(JSON.parse(route.request().postData()).messages.map((m) => m.role).join(" "));
  if (asked.length > 1) await route.continue();
  else await route.fulfill({ status: 429, json: { error: { message: "too many" } } });
});
await ask("One.");
await idle();
check("a refusal is shown", (await last().locator(".error").innerText()) === "too many");
await ask("Two.");
await idle();
check("a refused answer is no part of the conversation", asked[1] === "user user", asked);
await page.unroute("**/v1/chat/completions");

const drawn = await page.evaluate(async () => {
  const { renderMarkdown } = await import("/markdown.js");
  const div = document.createElement("div");
  div.append(...renderMarkdown(["Do:", "1. *a*", "   - b", "2. [c](https://c.d) [e](javascript:f)", "> <img src=x>", "", "|g|h|", "|-|-|", "|1|`2`|", "```js", "**i**"].join("\n")));
  return div.innerHTML;
});
check("Markdown becomes nodes, markup stays text", drawn === '<p>Do:</p><ol start="1"><li><em>a</em><ul><li>b</li></ul></li>'
  + '<li><a href="https://c.d" target="_blank" rel="noopener noreferrer">c</a> [e](javascript:f)</li></ol><blockquote><p>&lt;img src=x&gt;</p></blockquote>'
  + '<div class="wide" tabindex="0"><table><thead><tr><th>g</th><th>h</th></tr></thead><tbody><tr><td>1</td><td><code>2</code></td></tr></tbody></table></div>'
  + '<div class="block"><div><span>js</span><button type="button">Copy</button></div><pre tabindex="0"><code>**i**</code></pre></div>', drawn);

await page.evaluate(() => localStorage.setItem("alula.messages", "{damaged"));
await page.reload();
await page.waitForFunction(() => document.querySelector("#model").textContent !== "");
check("a damaged store is no obstacle", (await page.locator(".message").count()) === 0);
check("nothing went wrong and nothing was fetched elsewhere", faults.length === 0, faults);

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
