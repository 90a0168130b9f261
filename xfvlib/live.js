// What the live figures share.
function make(tag, parent, style = "", text = "") {
  const made = parent.appendChild(document.createElement(tag));
  made.style.cssText = style;
  made.textContent = text;
  return made;
}

// A white card, as all figures have, whatever the theme of the page.
function card(root, width) {
  root.style.cssText = `max-width: ${width}px; box-sizing: border-box; padding: 10px 12px; border-radius: 4px;
    font: 15px/1.4 sans-serif; color: #222; background: white; color-scheme: light`;
  root.addEventListener("keydown", (event) => event.stopPropagation());  // or a notebook would change the cell
}

function said(parent, lines) {
  const status = make("p", parent, `min-height: ${1.4 * lines}em; margin: 6px 0; max-width: none`);
  status.setAttribute("aria-live", "polite");
  return status;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

// Small numbers: differences, deflated.
async function unpacked(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const numbers = new Int8Array(await new Response(stream).arrayBuffer());
  for (let k = 1; k < numbers.length; k++) numbers[k] += numbers[k - 1];
  return numbers;
}

// Colours, one a cell, over all of a canvas.
function layer(canvas, rows, columns, paint) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows];
  const pixels = new ImageData(columns, rows);
  for (let at = 0; at < rows * columns; at++) pixels.data.set(paint(at), 4 * at);
  small.getContext("2d").putImageData(pixels, 0, 0);
  canvas.getContext("2d").drawImage(small, 0, 0, canvas.width, canvas.height);
}

// A signed value as a share of the full colour, as plots.blend paints it over a face.
function signedColour(palette, share) {
  const held = Math.max(-1, Math.min(1, share)), colour = 3 * Math.round(127 * (held + 1));
  return [palette[colour], palette[colour + 1], palette[colour + 2], 204 * Math.abs(held) ** 0.7];
}
