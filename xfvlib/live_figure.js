// Controls, pictures that they choose, a sentence, and charts with a marker. Whatever depends on controls is a table:
// `by` numbers the controls, and `of` holds one entry for each of their states, the last control running fastest.
function figureView(root, given) {
  const start = given.controls.map((one) => one.start), state = [...start];
  const pick = (one) => one?.by ?
    one.of[one.by.reduce((at, k) => at * given.controls[k].options.length + state[k], 0)] : one;
  let photos = null, numbers = null;

  card(root, 760);
  const bar = make("div", root, "display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center");
  const fields = given.controls.map((one, k) => {
    const label = make("label", bar, "display: flex; gap: 8px; align-items: center; max-width: 100%; margin: 0");
    make("span", label, "flex: none", one.label);
    const field = make(one.slider ? "input" : "select", label, "flex: 1 1 auto; min-width: 0; max-width: 100%; font: inherit");
    field.style.margin = 0;
    if (one.slider) {
      label.style.flex = "1 1 300px";
      field.style.accentColor = "#555";
      Object.assign(field, { type: "range", min: 0, max: one.options.length - 1, step: 1 });
      field.shown = make("span", label, "flex: none; min-width: 4em");
    } else {
      for (const option of one.options) make("option", field, "", option);
    }
    field.addEventListener("input", () => change(k, one.slider ? Number(field.value) : field.selectedIndex));
    return field;
  });
  const reset = make("button", bar, "font: inherit; padding: 1px 10px", "reset");
  reset.type = "button";
  reset.addEventListener("click", () => { Object.assign(state, start); draw(); });
  const pictures = make("div", root, "display: flex; flex-wrap: wrap; gap: 10px; margin-top: 10px; align-content: start");
  const status = said(root, 2);
  const graphs = make("div", root, "display: flex; flex-wrap: wrap; gap: 16px");
  const charts = given.charts.map((one) => chartView(make("div", graphs, "flex: 1 1 300px; min-width: 0"), one, state, pick, change));
  const tiles = [];

  const loaded = new Image();
  if (given.sheet) loaded.src = given.sheet.uri;
  Promise.all([given.sheet && loaded.decode(), unpacked(given.numbers)]).then(([, found]) => {
    [photos, numbers] = [loaded, found];
    draw();
  }, (error) => { status.textContent = `This figure could not be drawn: ${error}`; });
  let wide = root.clientWidth;
  new ResizeObserver(() => {
    if (root.clientWidth === wide) return;
    wide = root.clientWidth;
    pictures.style.minHeight = "";
    draw();
  }).observe(root);
  draw();

  function change(k, value) {
    if (state[k] === value) return;
    state[k] = value;
    draw();
  }

  // Signed values of a map. Where it has a second part, the map is the first + (score − level) · the second.
  function valuesOf(map) {
    const part = (number) => {
      const [rows, columns, scale, from] = given.maps[number];
      return { rows, columns, at: (k) => scale * numbers[from + k] };
    };
    const first = part(pick(map.first)), more = map.second && part(pick(map.second));
    const far = more && pick(map.score) - pick(map.level);
    const values = Float32Array.from({ length: first.rows * first.columns },
      (_, k) => first.at(k) + (more ? far * more.at(k) : 0));
    return { ...first, values };
  }

  // The absolute value drawn in full colour: the 99.5th percentile, as plots.full_colour has it.
  function fullColour(maps) {
    const sizes = Float32Array.from(maps.flatMap((one) => [...one.values.map(Math.abs)])).sort();
    const place = 0.995 * (sizes.length - 1), low = Math.floor(place);
    const next = sizes[Math.min(low + 1, sizes.length - 1)];
    return sizes[low] + (place - low) * (next - sizes[low]) || sizes[sizes.length - 1] || 1;
  }

  function paint(shown) {
    const { columns, cell, size: [high, across] } = given.sheet, zoom = 2;
    const maps = shown.map((panel) => panel.map && valuesOf(panel.map));
    const limit = fullColour(maps.filter(Boolean));
    shown.forEach((panel, k) => {
      if (!tiles[k]) {
        const figure = make("div", pictures, "flex: none; max-width: 100%; box-sizing: border-box");
        const canvas = make("canvas", figure, "display: block; box-sizing: border-box; max-width: 100%");
        canvas.setAttribute("role", "img");
        tiles[k] = { figure, canvas, title: make("div", figure, "font-size: 13px; white-space: pre-line; max-width: 100%") };
      }
      const { figure, canvas, title } = tiles[k], chosen = [pick(panel.photos)].flat();
      figure.style.display = "";
      canvas.width = zoom * across * chosen.length;
      canvas.height = zoom * high;
      canvas.style.width = title.style.width = `${given.width * chosen.length}px`;
      canvas.style.border = panel.frame ? `3px solid ${panel.frame}` : "";
      title.textContent = pick(panel.title);
      canvas.setAttribute("aria-label", title.textContent);
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      chosen.forEach((photo, place) => {
        const [x, y] = [cell[1] * (photo % columns), cell[0] * Math.floor(photo / columns)];
        context.drawImage(photos, x, y, across, high, place * zoom * across, 0, zoom * across, zoom * high);
      });
      if (panel.hidden) {
        const [rows, wide, , from] = given.maps[pick(panel.hidden)];
        context.imageSmoothingEnabled = false;
        layer(canvas, rows, wide, (at) => [0, 0, 0, 255 * numbers[from + at]]);
      }
      if (maps[k]) {
        const full = given.each ? fullColour([maps[k]]) : limit;
        layer(canvas, maps[k].rows, maps[k].columns, (at) => signedColour(given.palette, maps[k].values[at] / full));
      }
    });
    tiles.slice(shown.length).forEach(({ figure }) => { figure.style.display = "none"; });
    pictures.style.minHeight = `${Math.max(parseFloat(pictures.style.minHeight) || 0, pictures.offsetHeight)}px`;
  }

  // Words; tables of them; the marker's value on a line; or which of two words holds, by whether a score reaches a level.
  function words(piece) {
    const found = pick(piece);
    if (found.line !== undefined) return pick(given.charts[0].lines[found.line].y)[state[given.charts[0].at]];
    return found.reached === undefined ? found : pick(found.words)[Number(pick(found.reached) >= pick(found.level))];
  }

  function draw() {
    fields.forEach((field, k) => {
      const text = given.controls[k].options[state[k]];
      if (!field.shown) {
        field.selectedIndex = state[k];
        return;
      }
      field.value = state[k];
      field.shown.textContent = text;
      field.setAttribute("aria-valuetext", text);
    });
    status.textContent = given.status.map(words).join("");
    charts.forEach((one) => one());
    if (photos && given.panels.length) paint(given.shown ? pick(given.shown).map((k) => given.panels[k]) : given.panels);
  }
}

// Lines over an axis, drawn to the width that there is; whoever points at it moves the marker, and with it a control.
function chartView(parent, given, state, pick, change) {
  const shape = (tag, parent, attributes, text = "") => {
    const made = parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };
  const legend = parent.appendChild(document.createElement("div"));
  legend.style.cssText = "display: flex; flex-wrap: wrap; gap: 0 14px; font-size: 13px";
  for (const one of [...given.lines, ...given.levels].filter((line) => line.name)) {
    const entry = legend.appendChild(document.createElement("span")), mark = shape("svg", entry, { width: 24, height: 8 });
    shape("line", mark, { x1: 0, x2: 20, y1: 4, y2: 4, stroke: one.colour, "stroke-width": 2.5, "stroke-dasharray": one.dash ?? "none" });
    entry.append(one.name);
  }
  const height = 210, left = 58, right = 22, top = 10, bottom = 44;
  const svg = shape("svg", parent, { height, role: "img", "font-size": 12, "font-family": "sans-serif", fill: "#222" });
  svg.style.cssText = "display: block; width: 100%; touch-action: pan-y; cursor: ew-resize";
  const scaled = (value, [from, to, log]) =>
    log ? Math.log(Math.max(value, from) / from) / Math.log(to / from) : (value - from) / (to - from);
  let width = 300;
  const x = (value) => left + (width - left - right) * scaled(value, given.xrange);
  const y = (value) => height - bottom - (height - top - bottom) * scaled(value, given.yrange);

  const point = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    svg.setPointerCapture(event.pointerId);
    const at = event.clientX - svg.getBoundingClientRect().left;
    const far = given.marks.map((mark) => Math.abs(x(mark) - at));
    change(given.at, far.indexOf(Math.min(...far)));
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", point);

  return () => {
    width = Math.max(svg.clientWidth, 200);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-label", `${given.ylabel} against ${given.xlabel}`);
    const rule = (x1, y1, x2, y2, stroke, dash = "none", wide = 1) =>
      shape("line", svg, { x1, y1, x2, y2, stroke, "stroke-dasharray": dash, "stroke-width": wide });
    rule(left, height - bottom, width - right, height - bottom, "#222");
    rule(left, top, left, height - bottom, "#222");
    for (const [value, text] of given.xticks) {
      rule(x(value), height - bottom, x(value), height - bottom + 4, "#222");
      shape("text", svg, { x: x(value), y: height - bottom + 17, "text-anchor": "middle" }, text);
    }
    for (const [value, text] of given.yticks) {
      rule(left - 4, y(value), left, y(value), "#222");
      shape("text", svg, { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, text);
    }
    shape("text", svg, { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, given.xlabel);
    const middle = (top + height - bottom) / 2;
    shape("text", svg, { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, given.ylabel);
    for (const one of given.levels) {
      const at = pick(one.value);
      if (one.upright) rule(x(at), top, x(at), height - bottom, one.colour, one.dash, 1.5);
      else rule(left, y(at), width - right, y(at), one.colour, one.dash, 1.5);
    }
    const chosen = state[given.at], mark = given.marks[chosen];
    for (const one of given.lines) {
      const values = pick(one.y);
      const place = (across, up) => `${x(across).toFixed(1)},${y(up).toFixed(1)}`;
      const points = values.map((value, k) => place(one.x[k], value));
      if (one.fill) points.push(place(one.x.at(-1), 0), place(one.x[0], 0));
      const looks = { stroke: one.colour, "stroke-width": 2, "stroke-dasharray": one.dash ?? "none", "stroke-linejoin": "round" };
      shape("polyline", svg, { points: points.join(" "), fill: one.fill ? one.colour : "none", "fill-opacity": 0.3, ...looks });
    }
    rule(x(mark), top, x(mark), height - bottom, "#222", "none", 1.5);
    if (!given.dots) return;
    for (const one of given.lines) {
      shape("circle", svg, { cx: x(mark), cy: y(pick(one.y)[chosen]), r: 5, fill: one.colour, stroke: "white", "stroke-width": 1.5 });
    }
  };
}
