// markdown.js - the Markdown that answers use, as DOM nodes: code, lists, tables, quotes, headings, and in a line bold,
// italic, code and links. Text only ever becomes text nodes, so an answer cannot bring markup of its own.
import { makeCopy } from "./copy.js";

const DEPTH_MAX = 8; // of lists and quotes in each other

const element = (name, ...children) => {
  const node = document.createElement(name);
  node.append(...children);
  return node;
};

function link(text, address) {
  const node = element("a", text);
  Object.assign(node, { href: address, target: "_blank", rel: "noopener noreferrer" });
  return node;
}

// One line's text, or that of a paragraph.
function inline(text) {
  const nodes = [];
  let last = 0;
  const marks = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/g;
  for (const match of text.matchAll(marks)) {
    const [all, code, bold, italic, name, address] = match;
    nodes.push(text.slice(last, match.index));
    nodes.push(code ? element("code", code) : bold ? element("strong", bold) : italic ? element("em", italic) : link(name, address));
    last = match.index + all.length;
  }
  nodes.push(text.slice(last));
  return nodes;
}

// ---- blocks: each takes lines from `at` on and returns its node and the line behind it ------------------------

// A fence that is still open goes to the end: it is being written.
function code(lines, at) {
  const [, indent, fence, language] = lines[at].match(/^(\s*)(```+|~~~+)\s*(\S*)/);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() !== fence) end++;
  const text = lines.slice(at + 1, end).map((line) => line.startsWith(indent) ? line.slice(indent.length) : line).join("\n");
  const pre = element("pre", element("code", text)), button = element("button", "Copy");
  pre.tabIndex = 0; // wide code is scrolled by keys, too
  button.type = "button";
  makeCopy(button, () => text);
  const block = element("div", element("div", element("span", language), button), pre);
  block.className = "block";
  return [block, end + 1];
}

function heading(lines, at) {
  return [element("h3", ...inline(lines[at].replace(/^#+\s+/, ""))), at + 1];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && /^\s*>/.test(lines[end])) end++;
  return [element("blockquote", ...blocks(lines.slice(at, end).map((line) => line.replace(/^\s*> ?/, "")), depth + 1)), end];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end++;
  const row = (line, kind) => element("tr", ...cells(line).map((cell) => element(kind, ...inline(cell))));
  const node = element("table", element("thead", row(lines[at], "th")), element("tbody", ...lines.slice(at + 2, end).map((line) => row(line, "td"))));
  const wide = element("div", node);
  wide.className = "wide";
  wide.tabIndex = 0;
  return [wide, end];
}

const BULLET = /^(\s*)([-*+]|\d{1,9}[.)])\s+/;

// What is indented deeper than its bullet belongs to an item, empty lines before it included.
function list(lines, at, depth) {
  const [, indent, mark] = lines[at].match(BULLET), ordered = /\d/.test(mark);
  const node = element(ordered ? "ol" : "ul");
  if (ordered) node.start = parseInt(mark, 10);
  while (at < lines.length) {
    const next = lines[at].match(BULLET);
    if (!next || next[1].length !== indent.length || /\d/.test(next[2]) !== ordered) break;
    const own = [lines[at].slice(next[0].length)];
    const deeper = (line) => line.search(/\S/) > indent.length;
    for (at++; at < lines.length && (deeper(lines[at]) || (!lines[at].trim() && deeper(lines[at + 1] ?? ""))); at++) {
      own.push(lines[at].slice(Math.min(next[0].length, Math.max(0, lines[at].search(/\S/)))));
    }
    while (at + 1 < lines.length && !lines[at].trim() && BULLET.test(lines[at + 1])) at++;
    const inside = blocks(own, depth + 1);
    if (inside[0]?.tagName === "P") inside.splice(0, 1, ...inside[0].childNodes);
    node.append(element("li", ...inside));
  }
  return [node, at];
}

// Which block begins at this line; undefined = prose.
function opening(lines, at) {
  const line = lines[at];
  if (/^\s*(```|~~~)/.test(line)) return code;
  if (/^#{1,6}\s+\S/.test(line)) return heading;
  if (/^\s*>/.test(line)) return quote;
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) return () => [element("hr"), at + 1];
  if (BULLET.test(line)) return list;
  if (line.includes("|") && /^\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?)?$/.test((lines[at + 1] ?? "").trim())) return table;
  return undefined;
}

function blocks(lines, depth) {
  const nodes = [];
  let prose = [];
  const flush = () => {
    if (prose.length) nodes.push(element("p", ...inline(prose.join("\n"))));
    prose = [];
  };
  for (let at = 0; at < lines.length;) {
    const take = depth < DEPTH_MAX ? opening(lines, at) : undefined;
    if (take) {
      flush();
      const [node, next] = take(lines, at, depth);
      nodes.push(node);
      at = next;
    } else if (lines[at++].trim()) {
      prose.push(lines[at - 1]);
    } else {
      flush();
    }
  }
  flush();
  return nodes;
}

export const renderMarkdown = (text) => blocks(text.split("\n"), 0);
