// The page of `lmht view`. It asks for a picture when it has drawn the last one, so that a slow page
// loses pictures and the stream never waits. Messages: see lmht_deploy/view/protocol.py.
"use strict";

const FADE = 0.75; // share of an event picture that the next one keeps
const SPOKEN_MS = 3000;
const CHARTS_MS = 95; // between two drawings of the charts and the rates
const SUPPORTS = "0 158 115";
const OPPOSES = "204 121 167";
const state = {
  about: null, // what the first message describes
  header: null, // of the last picture
  counts: null, // faded events, Float32Array [2, H, W]
  canvas: null, // context of the events
  image: null,
  pixels: null, // of this image
  brightest: 1,
  charted: 0,
  courses: [], // {window, start, values (logits), shares (softmax), layers} of the last windows
  logits: false,
  why: null, // the answer to "explain", while it is shown
  frozen: false, // a source with a pace of its own goes on; the page stands still
  seeking: false,
  spoken: 0,
  arrivals: [],
  rows: [],
};
const observer = observeSizes(() => drawCharts());
let socket = null;
let waiting = null; // a picture that is not drawn yet

// ------------------------------------------------------------------------------------ connection

function connect() {
  const address = new URL("stream", location.href);
  address.protocol = "ws:";
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (message) =>
    typeof message.data === "string" ? understand(JSON.parse(message.data)) : receive(message.data);
  socket.onclose = (event) => say(event.reason || (state.about ? "ended" : "not connected"), true);
}

function send(command) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
}

function say(text, closed = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("closed", closed);
  if (closed) for (const control of document.querySelectorAll("#controls *")) control.disabled = true;
}

const understand = (message) =>
  message.explanation ? showWhy(message.explanation) : describe(message);

function describe(about) {
  state.about = about;
  const [height, width] = about.size;
  Object.assign($("events"), { width, height });
  state.counts = new Float32Array(2 * height * width);
  state.canvas = $("events").getContext("2d", { alpha: false });
  state.image = state.canvas.createImageData(width, height);
  state.pixels = new Uint32Array(state.image.data.buffer); // of little-endian machines: ABGR
  $("network").textContent = about.network;
  $("source").textContent = about.source;
  document.title = `${about.network} – lmht view`;
  $("about").textContent =
    `Sensor ${about.sensor[1]} × ${about.sensor[0]}; windows: ${about.window}; ${about.classes.length} classes.`;
  $("playback").hidden = about.duration === null;
  $("seek").max = String(about.duration ?? 0);
  makeLayers(about);
  send({ do: "next" });
}

function receive(data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  waiting = { header, counts: new Uint8Array(data, 4 + length) };
  requestAnimationFrame(draw);
}

// --------------------------------------------------------------------------------------- pictures

function draw(now) {
  if (!waiting) return;
  const { header, counts } = waiting;
  waiting = null;
  state.header = header;
  addEvents(counts, header);
  header.answers.forEach(addAnswer);
  if (header.answer) addAnswer(header.answer);
  drawEvents();
  drawAnswer(header.answer);
  drawPlayback(header);
  state.arrivals.push(now);
  if (rests(header) || now - state.charted >= CHARTS_MS) drawHistory(header, now);
  speak(header.answer, now);
  if (!state.frozen) send({ do: "next" });
}

const rests = (header) => header.playback && (header.playback.paused || header.playback.ended);

// Charts and rates change less often than events: they are most of what a browser has to paint.
function drawHistory(header, now) {
  state.charted = now;
  readTheme(); // before anything is written, when it costs little
  drawCourse();
  drawLayers(header.answer);
  drawFigures(header, now);
}

function addEvents(counts, header) {
  const still = rests(header);
  if (still && !counts.some(Boolean)) return; // what was shown stays
  const fade = still ? 0 : FADE;
  const faded = state.counts;
  for (let i = 0; i < faded.length; i++) faded[i] = faded[i] * fade + counts[i];
}

function drawEvents() {
  const { image, pixels } = state;
  const counts = state.why ? state.why.events : state.counts;
  state.brightest = paintEvents(counts, pixels, state.brightest);
  state.canvas.putImageData(image, 0, 0);
  drawWhy();
}

// Cells that support the answer are tinted green, cells that oppose it pink: the more, the stronger.
function drawWhy() {
  const why = state.why;
  if (!why) return;
  if (!state.frozen && state.header.answer?.window > why.window) return hideWhy();
  const { width, height } = $("events");
  const [tall, wide] = [(why.cell * height) / why.size[0], (why.cell * width) / why.size[1]];
  const largest = Math.max(1e-9, ...why.deltas.flat().map(Math.abs));
  why.deltas.forEach((row, i) => row.forEach((delta, j) => {
    if (!delta) return;
    const strength = 0.15 + 0.6 * (Math.abs(delta) / largest);
    state.canvas.fillStyle = `rgb(${delta < 0 ? SUPPORTS : OPPOSES} / ${strength})`;
    state.canvas.fillRect(j * wide, i * tall, wide, tall);
  }));
}

function showWhy(why) {
  if (why.error) return write($("why"), why.error);
  state.why = { ...why, events: resized(why.frame, why.size) };
  const lowest = Math.min(...why.deltas.flat());
  const most = lowest < 0 ? `; without the strongest cell it falls by ${(-lowest).toFixed(3)}` : "";
  write($("why"), `Green cells support ${named(why.answer)}, pink cells oppose it (window ` +
    `${whole.format(why.window)}, margin ${why.margin.toFixed(3)}${most}). ` +
    `${whole.format(why.changed)} cells decide alone; ${whole.format(why.runs)} runs.`);
  $("explain").setAttribute("aria-pressed", "true");
  drawEvents();
}

// The events of a window [2, rows, columns] in the size of the pictures.
function resized(frame, [rows, columns]) {
  const { width, height } = $("events");
  return Float32Array.from({ length: 2 * height * width }, (_, i) => {
    const x = i % width;
    const y = Math.floor(i / width) % height;
    const channel = Math.floor(i / (width * height));
    const row = Math.floor((y * rows) / height);
    return frame[(channel * rows + row) * columns + Math.floor((x * columns) / width)];
  });
}

function hideWhy() {
  state.why = null;
  write($("why"), "");
  $("explain").setAttribute("aria-pressed", "false");
}

function explain() {
  if (state.why) {
    hideWhy();
    return drawEvents();
  }
  const playback = state.header?.playback;
  if (playback ? !playback.paused && !playback.ended : !state.frozen) pause();
  write($("why"), "running the window without each cell …");
  send({ do: "explain" });
}

function addAnswer(answer) {
  const last = state.courses.at(-1);
  if (last && answer.window === last.window) return;
  if (last && answer.window < last.window) { // the page went back
    state.courses = [];
    hideWhy();
  }
  const values = answer.logits.map((logit) => logit * state.about.scale);
  const layers = answer.by_layer.spikes.map((spikes, i) => spikes / state.about.layers[i].neuron_steps);
  state.courses.push({ window: answer.window, start: answer.start, values, shares: softmax(values), layers });
  if (state.courses.length > WINDOWS) state.courses.shift();
}

const named = (label) => (label < 0 ? "unknown" : state.about.classes[label]);

function drawAnswer(answer) {
  if (!answer) return;
  write($("answer"), named(answer.label));
  write($("margin"), answer.margin.toFixed(3));
  write($("window"), whole.format(answer.window));
  $("incomplete").hidden = !answer.incomplete;
  drawClasses($("classes"), state.courses.at(-1), named);
}

function drawCharts() {
  readTheme();
  drawCourse();
  if (state.header) drawLayers(state.header.answer);
}

function drawCourse() {
  drawLines($("course"), state.courses, state.logits);
  $("span").textContent = state.courses.length;
}

function makeLayers(about) {
  state.rows = makeLayerRows($("layers"), about.synaptic, about.layers.length, observer);
}

function drawLayers(answer) {
  if (answer) drawLayerRows(state.rows, answer.by_layer, state.courses);
}

// ---------------------------------------------------------------------------------------- figures

function drawFigures(header, now) {
  state.arrivals = state.arrivals.filter((time) => time > now - 1000);
  write($("pictures-rate"), state.arrivals.length);
  for (const what of ["events", "sops", "windows"]) {
    write($(`${what}-rate`), short(header.rates[what]));
  }
  write($("events-total"), short(header.totals.events));
  write($("windows-total"), short(header.totals.windows));
  write($("latency-50"), lasting(header.latency[0]));
  write($("latency-99"), lasting(header.latency[1]));
  write($("dropped"), whole.format(header.dropped));
}

function drawPlayback(header) {
  write($("clock"), seconds(header.time));
  const playback = header.playback;
  if (!playback) {
    if (!state.frozen) say("live");
    return;
  }
  say(playback.ended ? "ended" : playback.paused ? "paused" : "playing");
  write($("pause"), playback.paused || playback.ended ? "Play" : "Pause");
  if (document.activeElement !== $("speed")) showSpeed(String(playback.speed ?? ""));
  if (!state.seeking) $("seek").value = String(header.time);
  $("seek").setAttribute("aria-valuetext", seconds(header.time));
}

function showSpeed(speed) {
  const known = [...$("speed").options].some((option) => option.value === speed);
  if (!known) $("speed").add(new Option(`${speed}×`, speed));
  $("speed").value = speed;
}

function speak(answer, now) {
  if (!answer || now - state.spoken < SPOKEN_MS) return;
  const text = `answer ${named(answer.label)}, margin ${answer.margin.toFixed(1)}`;
  if ($("spoken").textContent !== text) $("spoken").textContent = text;
  state.spoken = now;
}

// --------------------------------------------------------------------------------------- commands

function pause() {
  const playback = state.header?.playback;
  if (!playback) {
    state.frozen = !state.frozen;
    $("pause").textContent = state.frozen ? "Resume" : "Pause";
    if (state.frozen) say("paused: the stream goes on");
    else send({ do: "next" });
  } else if (playback.ended) {
    seek(0);
    send({ do: "play" });
  } else {
    send({ do: playback.paused ? "play" : "pause" });
  }
}

function seek(us) {
  const longest = state.about?.duration ?? 0;
  send({ do: "seek", us: Math.round(Math.min(Math.max(us, 0), longest)) });
}

function step() {
  if (state.header?.playback) send({ do: "step" });
}

// The window before: seeks to its start, which is known or one hop earlier.
function back() {
  const now = state.courses.at(-1);
  if (!now || !state.header.playback) return;
  const before = state.courses.at(-2);
  const hop = before ? (now.start - before.start) / (now.window - before.window) : now.start;
  state.courses.pop();
  send({ do: "pause" });
  seek(now.start - Math.max(hop, 1));
}

function jump(share) {
  if (state.header?.playback) seek(state.header.time + share * state.about.duration);
}

const KEYS = {
  " ": pause,
  ArrowRight: step,
  ArrowLeft: back,
  "Shift+ArrowRight": () => jump(0.05),
  "Shift+ArrowLeft": () => jump(-0.05),
  Home: () => jump(-1),
  l: () => $("unit").click(),
  w: explain,
};

listenToKeys(KEYS);

$("pause").addEventListener("click", pause);
$("step").addEventListener("click", step);
$("back").addEventListener("click", back);
$("explain").addEventListener("click", explain);
$("speed").addEventListener("change", () =>
  send({ do: "speed", value: $("speed").value === "" ? null : Number($("speed").value) }));
$("seek").addEventListener("input", () => { state.seeking = true; });
$("seek").addEventListener("change", () => { state.seeking = false; seek(Number($("seek").value)); });
$("unit").addEventListener("click", () => {
  state.logits = !state.logits;
  $("unit").setAttribute("aria-pressed", String(state.logits));
  $("course-name").textContent = state.logits ? "Logit" : "Probability";
  drawCourse();
});
dark.addEventListener("change", () => requestAnimationFrame(() => {
  if (state.counts) drawEvents();
  drawCharts();
}));
observer.observe($("course"));
connect();
