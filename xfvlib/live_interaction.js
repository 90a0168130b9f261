// Two faces; the place that is pointed at in one is answered in the other.
function interactionView(root, given) {
  const size = 280, grid = given.grid, cells = grid * grid;
  const matrix = new Int16Array(bytes(given.matrix).buffer);
  const sides = given.sides.map((one) => ({ ...one, count: one.names.length }));
  sides.forEach((side) => { side.weights = bytes(side.weights ?? given.sides[0].weights); });
  const value = (side, place, other) => given.largest *
    (side === 0 ? matrix[place * sides[1].count + other] : matrix[other * sides[1].count + place]);

  card(root, 624);
  const row = make("div", root, "display: flex; flex-wrap: wrap; gap: 16px");
  const status = said(root, 3);
  let chosen = [0, 0];  // side and place

  sides.forEach((side, number) => {
    const figure = make("div", row, "flex: none; max-width: 100%");
    make("div", figure, "margin-bottom: 4px", side.title);
    const canvas = side.canvas = make("canvas", figure, "cursor: crosshair; touch-action: pan-y; max-width: 100%");
    canvas.width = canvas.height = size;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `${side.title}: the arrow keys choose a place`);
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      choose(number, nearest(side, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(number, chosen[0] === number ? beside(side, chosen[1], step) : nearest(side, 0.5, 0.5));
    });
    side.picture = new Image();
    side.picture.onload = draw;
    side.picture.src = side.image;
  });

  function nearest(side, x, y) {
    let best = 0, least = Infinity;
    for (let k = 0; k < side.count; k++) {
      const far = (side.centres[2 * k] - x) ** 2 + (side.centres[2 * k + 1] - y) ** 2;
      if (far < least) [best, least] = [k, far];
    }
    return best;
  }

  // the place that lies in a direction: near, and not far off it
  function beside(side, place, [dx, dy]) {
    let best = place, least = Infinity;
    for (let k = 0; k < side.count; k++) {
      const x = side.centres[2 * k] - side.centres[2 * place];
      const y = side.centres[2 * k + 1] - side.centres[2 * place + 1];
      const along = x * dx + y * dy, off = Math.abs(x * dy) + Math.abs(y * dx);
      if (along > 0.01 && along + 3 * off < least) [best, least] = [k, along + 3 * off];
    }
    return best;
  }

  function choose(side, place) {
    if (side === chosen[0] && place === chosen[1]) return;
    chosen = [side, place];
    draw();
  }

  function draw() {
    const [from, place] = chosen, own = sides[from], other = sides[1 - from];
    for (const side of sides) {
      const context = side.canvas.getContext("2d");
      context.fillRect(0, 0, size, size);
      context.drawImage(side.picture, 0, 0, size, size);
    }
    layer(own.canvas, grid, grid, (at) => [0, 0, 0, 140 * (1 - own.weights[place * cells + at] / 255)]);

    const answers = Array.from({ length: other.count }, (_, k) => value(from, place, k));
    const most = Math.max(...answers), best = answers.indexOf(most);
    const map = new Float32Array(cells), sum = new Float32Array(cells);
    for (let k = 0; k < other.count; k++) {
      for (let at = 0; at < cells; at++) {
        const weight = other.weights[k * cells + at];
        map[at] += weight * answers[k];
        sum[at] += weight;
      }
    }
    map.forEach((one, at) => { map[at] = one / Math.max(sum[at], 1); });
    const limit = map.reduce((high, one) => Math.max(high, Math.abs(one)), 1e-9);
    layer(other.canvas, grid, grid, (at) => signedColour(given.palette, map[at] / limit));
    const context = other.canvas.getContext("2d");
    context.lineWidth = 2;
    for (const [radius, colour] of [[9, "white"], [7, "black"]]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(size * other.centres[2 * best], size * other.centres[2 * best + 1], radius, 0, 2 * Math.PI);
      context.stroke();
    }
    status.textContent = `${own.names[place]} of the ${own.title} finds ${other.names[best]} of the ${other.title}: ` +
      `${most >= 0 ? "+" : "−"}${Math.abs(most).toFixed(3)} of the cosine ${given.score.toFixed(3)}. ` +
      "Blue: the two interact; red: they speak against each other.";
  }
}
