// copy.js - a button that copies, and says for a moment that it did.

// Pages that came by plain HTTP from another machine have no navigator.clipboard.
async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser does not let it");
}

// text() is asked for when the button is pressed.
export function makeCopy(button, text) {
  button.addEventListener("click", async () => {
    button.textContent = await toClipboard(text()).then(() => "Copied", () => "Not copied");
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
