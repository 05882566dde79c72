// markdown.js - the little of Markdown that answers use, as DOM nodes: fenced code, lists, headings, bold, inline
// code. Text only ever becomes text nodes, so an answer cannot bring markup of its own.

const element = (name, ...children) => {
  const node = document.createElement(name);
  node.append(...children);
  return node;
};

// **bold** and `code`.
function inline(text) {
  const nodes = [];
  let last = 0;
  for (const match of text.matchAll(/`([^`\n]+)`|\*\*([^*\n]+)\*\*/g)) {
    nodes.push(text.slice(last, match.index));
    nodes.push(match[1] !== undefined ? element("code", match[1]) : element("strong", match[2]));
    last = match.index + match[0].length;
  }
  nodes.push(text.slice(last));
  return nodes;
}

function codeBlock(text) {
  const button = element("button", "Copy");
  button.type = "button";
  button.addEventListener("click", () => navigator.clipboard.writeText(text));
  const block = element("div", element("pre", element("code", text)), button);
  block.className = "block";
  return block;
}

// A paragraph's lines: a heading, a list, or prose.
function paragraph(lines) {
  const heading = lines.length === 1 && lines[0].match(/^#{1,6}\s+(.*)/);
  if (heading) return element("h3", ...inline(heading[1]));
  for (const [tag, bullet] of [["ul", /^\s*[-*]\s+/], ["ol", /^\s*\d+[.)]\s+/]]) {
    if (lines.every((line) => bullet.test(line))) {
      return element(tag, ...lines.map((line) => element("li", ...inline(line.replace(bullet, "")))));
    }
  }
  return element("p", ...inline(lines.join("\n")));
}

export function renderMarkdown(text) {
  const nodes = [];
  let lines = [], code = null;
  const flush = () => {
    if (lines.length) nodes.push(paragraph(lines));
    lines = [];
  };
  for (const line of text.split("\n")) {
    if (code !== null && /^\s*```\s*$/.test(line)) {
      nodes.push(codeBlock(code.join("\n")));
      code = null;
    } else if (code !== null) {
      code.push(line);
    } else if (/^\s*```/.test(line)) {
      flush();
      code = [];
    } else if (line.trim() === "") {
      flush();
    } else {
      if (/^#{1,6}\s/.test(line)) flush();
      lines.push(line);
      if (/^#{1,6}\s/.test(line)) flush();
    }
  }
  if (code !== null) nodes.push(codeBlock(code.join("\n")));
  flush();
  return nodes;
}
