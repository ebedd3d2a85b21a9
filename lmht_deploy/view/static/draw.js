// Drawing and keys of the pages that show events and answers: `lmht view`, and the page of lmht.js.
"use strict";

const WINDOWS = 240; // windows in the charts
const TOP = 10; // classes in the list and the chart: all of them, or the most probable
const LIGHT = new Float32Array(4096); // brightness of a number of events
const COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8f8a00", "#7f7f7f",
  "#a05cd6", "#9c5a3c"];

const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const color = (label) => COLORS[label % COLORS.length];

// ------------------------------------------------------------------------------------------ texts

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const short = (value) => compact.format(value);
const whole = new Intl.NumberFormat("en");
const seconds = (us) => `${(us / 1e6).toFixed(3)} s`;
const lasting = (seconds) =>
  seconds < 1 ? `${(1000 * seconds).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;

// Calls the function of a pressed key, which `keys` names as "Shift+ArrowLeft" or "o", unless the control
// with the focus uses the key itself.
function listenToKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const own = event.target.closest("select, input") || (event.key === " " && event.target.closest("button"));
    const act = keys[(event.shiftKey ? "Shift+" : "") + (event.key.length > 1 ? event.key : event.key.toLowerCase())];
    if (own || !act) return;
    event.preventDefault();
    act();
  });
}

// Writes a text only if it changes: each write lays out its surroundings.
function write(node, text) {
  if (node.firstChild?.data !== String(text)) node.textContent = text;
}

// ----------------------------------------------------------------------------------------- events

// Paints counts [2, H, W] to pixels (ABGR, of little-endian machines): one table of brightness per
// picture, one pass over the pixels. Returns the count that is painted brightest.
function paintEvents(counts, pixels, before) {
  const size = pixels.length;
  let largest = 1;
  for (let i = 0; i < size; i++) largest = Math.max(largest, counts[i] + counts[size + i]);
  const brightest = Math.max(largest, 0.95 * before);
  const steps = LIGHT.length - 1;
  const unit = steps / brightest;
  const scale = 1 / Math.log1p(brightest);
  for (let i = 0; i <= steps; i++) LIGHT[i] = Math.log1p(i / unit) * scale;
  const [back, on, off] = dark.matches
    ? [[20, 22, 26], [125, 185, 255], [255, 150, 40]]
    : [[255, 255, 255], [0, 80, 170], [190, 85, 0]];
  const [r, g, b] = back;
  const empty = (255 << 24) | (b << 16) | (g << 8) | r;
  for (let i = 0; i < size; i++) {
    const all = counts[i] + counts[size + i];
    const light = LIGHT[Math.round(all * unit)];
    if (light < 1 / 256) {
      pixels[i] = empty;
      continue;
    }
    const more = (light * counts[size + i]) / all;
    const less = light - more;
    const red = r + more * (on[0] - r) + less * (off[0] - r);
    const green = g + more * (on[1] - g) + less * (off[1] - g);
    const blue = b + more * (on[2] - b) + less * (off[2] - b);
    pixels[i] = (255 << 24) | (blue << 16) | (green << 8) | red;
  }
  return brightest;
}

// ---------------------------------------------------------------------------------------- answers

function softmax(values) {
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

// The classes to show: all in order, or the TOP largest values.
function topClasses(values) {
  if (values.length <= TOP) return [...values.keys()];
  return [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, TOP);
}

// One row per class: a bar of its probability, and its logit.
function drawClasses(list, { values, shares }, named) {
  topClasses(values).forEach((label, i) => {
    const row = list.children[i] ?? makeClass(list);
    const [swatch, name, track, share, logit] = row.children;
    swatch.style.background = color(label);
    write(name, named(label));
    track.firstChild.style.background = color(label);
    track.firstChild.style.transform = `scaleX(${shares[label]})`; // unlike a width, no layout
    write(share, `${(100 * shares[label]).toFixed(1)} %`);
    write(logit, values[label].toFixed(2));
  });
}

function makeClass(list) {
  const row = document.createElement("li");
  for (const name of ["swatch", "name", "track", "figure", "figure"]) {
    row.appendChild(document.createElement("span")).className = name;
  }
  row.children[2].appendChild(document.createElement("div")).className = "bar";
  return list.appendChild(row);
}

// ----------------------------------------------------------------------------------------- charts

// Sizes of canvases in CSS pixels: asking for them while drawing would lay out the page each time.
const sizes = new Map();
// Notes the sizes, and calls `redraw` when they change.
const observeSizes = (redraw) => new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) sizes.set(target, [contentRect.width, contentRect.height]);
  redraw();
});

// Fits a canvas to its size on the screen; returns its context and size in CSS pixels.
function fitted(canvas) {
  const [wide, tall] = sizes.get(canvas) ?? [canvas.clientWidth, canvas.clientHeight];
  const ratio = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(wide * ratio));
  const height = Math.max(1, Math.round(tall * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, wide, tall);
  return [context, wide, tall];
}

// The colors of the style sheet, which depend on the color scheme.
const theme = {};
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["quiet", "line", "accent"]) theme[name] = style.getPropertyValue(`--${name}`);
}

// A line per class through the last windows. `logits`: its logits, not its probabilities. The chart
// has room for `room` windows; the first one is at `offset`.
function drawLines(canvas, courses, logits, room = WINDOWS, offset = room - courses.length) {
  const [context, width, height] = fitted(canvas);
  const lines = courses.map((course) => (logits ? course.values : course.shares));
  let [low, high] = [0, 1];
  if (logits && lines.length) {
    low = Math.min(...lines.map((values) => Math.min(...values)));
    high = Math.max(low + 1e-9, ...lines.map((values) => Math.max(...values)));
  }
  const left = 44;
  const x = (i) => left + ((i + offset) / Math.max(room - 1, 1)) * (width - left - 4);
  const y = (value) => height - 6 - ((value - low) / (high - low)) * (height - 12);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = theme.quiet;
  context.strokeStyle = theme.line;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of [low, (low + high) / 2, high]) {
    const text = logits ? value.toPrecision(3) : `${Math.round(100 * value)} %`;
    context.fillText(text, left - 6, Math.min(Math.max(y(value), 8), height - 8));
    line(context, [[left, y(value)], [width, y(value)]], 1);
  }
  for (const label of topClasses(courses.at(-1)?.values ?? []).reverse()) {
    context.strokeStyle = color(label);
    line(context, lines.map((values, i) => [x(i), y(values[label])]), 2);
  }
}

function line(context, points, width) {
  context.lineWidth = width;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

// A bar per window.
function drawBars(canvas, values, room = WINDOWS, offset = room - values.length) {
  const [context, width, height] = fitted(canvas);
  const bar = width / room;
  const largest = Math.max(1e-9, ...values);
  context.fillStyle = theme.accent;
  context.beginPath();
  values.forEach((value, i) => {
    const tall = (value / largest) * height;
    context.rect((offset + i) * bar, height - tall, Math.max(bar - (bar > 4 ? 1 : 0), 1), tall);
  });
  context.fill();
}

// A row per layer with synapses in the table `body`; the last one, the read-out, has no spikes.
function makeLayerRows(body, names, spiking, observer) {
  body.replaceChildren();
  return names.map((name, i) => {
    const row = body.insertRow();
    const head = row.appendChild(document.createElement("th"));
    head.scope = "row";
    head.textContent = name;
    const canvas = row.insertCell().appendChild(document.createElement("canvas"));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Spike density of ${name} over the last windows`);
    observer.observe(canvas);
    canvas.hidden = i >= spiking;
    const figures = [0, 1, 2].map(() => row.insertCell());
    for (const cell of figures) cell.className = "figure";
    return { canvas, figures };
  });
}

// The counts of the last window, and the density of all windows.
function drawLayerRows(rows, { spikes, sops }, courses, room, offset) {
  rows.forEach((row, i) => {
    write(row.figures[2], whole.format(sops[i]));
    if (i >= spikes.length) return;
    write(row.figures[0], whole.format(spikes[i]));
    write(row.figures[1], courses.at(-1).layers[i].toPrecision(3));
    drawBars(row.canvas, courses.map((course) => course.layers[i]), room, offset);
  });
}
