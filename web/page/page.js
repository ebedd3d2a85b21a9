// The page of lmht.js. It runs a whole recording ahead of the playback, a few milliseconds at a time,
// and shows the decision of the time at which the playback is. Nothing is requested from anywhere.

const BUDGET = 9; // ms per picture in which windows run
const PIECE_EVENTS = 4096; // events that are pushed at once
const LARGEST_SIDE = 240; // pixels of the longer side of the picture of events
const TRAIL = 0.2; // share of a window after which an event has faded to 1/e
const TRAIL_US = 20_000; // the same without a length in time
const MAX_PAINTED = 300_000; // events in one picture, at most: the last ones
const MAX_EVENTS = 2 ** 26; // events of a recording
const CHARTS_MS = 95; // between two drawings of the charts
const FORMING_MS = 45; // between two runs of the window in progress
const MAX_FORMING = 200_000; // events of a window whose answer is shown while it forms
const SPOKEN_MS = 3000;
const LENGTHS = [10, 20, 25, 50, 100, 200, 500, 1000]; // ms
const NETWORK_SUFFIXES = [".lmht", ".lmhtf"];
const RECORDING_SUFFIXES = [".aedat4", ".aedat", ".raw", ".dat", ".es", ".bin"];
const SIZES = { ".bin": { width: 34, height: 34 } }; // of N-MNIST, whose files do not state it
const UNSIZED = "how large its sensor is"; // in the message about such a file

const state = {
  networks: new Map(), // by name: the content of a file
  recordings: new Map(),
  sensors: new Map(), // {width, height} that somebody entered for a recording, by name
  net: null,
  rec: null, // {name, width, height, events, drawn, start, duration}
  loaded: null, // names of the network and the recording
  stream: null,
  pushed: 0, // events
  ended: false, // the stream
  decisions: [], // of lmht.js
  courses: [], // for the charts, one per decision
  time: 0, // of the playback, us from the first event
  playing: false,
  speed: 0.1,
  logits: false,
  shown: null, // index of the decision that is shown
  picture: null, // {counts, image, pixels, context, brightest}
  rows: [],
  formed: 0,
  charted: 0,
  spoken: 0,
  pictures: [],
  busy: 0, // ms in which windows ran
  before: 0, // time of the picture before
  loading: 0,
};
const embedded = new URLSearchParams(location.search).has("embed");
const observer = observeSizes(() => drawCharts());

const stemOf = (name) => name.replace(/\.[^.]*$/, "");
const suffix = (name) => name.slice(name.lastIndexOf(".")).toLowerCase();

// ------------------------------------------------------------------------------------------ files

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function say(text, failed = false) {
  write($("status"), text);
  $("status").classList.toggle("failed", failed);
}

function fail(error, name = "") {
  state.playing = false;
  say(`${name ? `${name}: ` : ""}${error.message}`, true);
}

// Adds a file to the choices: a network or a recording.
function addFile(name, content, title = "") {
  const isNetwork = NETWORK_SUFFIXES.includes(suffix(name));
  const [known, list] = isNetwork ? [state.networks, $("network")] : [state.recordings, $("recording")];
  if (!known.has(name)) list.add(new Option(name, name));
  known.set(name, content);
  if (title) [...list.options].find((option) => option.value === name).title = title;
  return list;
}

async function openFiles(files) {
  for (const file of files) {
    if (![...NETWORK_SUFFIXES, ...RECORDING_SUFFIXES].includes(suffix(file.name))) {
      fail(new LmhtError(`is neither a network (${NETWORK_SUFFIXES.join(", ")}) nor a recording (` +
        `${RECORDING_SUFFIXES.join(", ")})`), file.name);
      return;
    }
    const list = addFile(file.name, new Uint8Array(await file.arrayBuffer()));
    list.value = file.name;
    if (list === $("recording")) showSpeed(1);
  }
  await load();
}

// Loads the network and the recording that are chosen, and starts over.
async function load() {
  const mine = ++state.loading;
  const [network, recording] = [$("network").value, $("recording").value];
  state.playing = false;
  say("loading");
  showSensor(recording);
  try {
    const net = await Network.read(state.networks.get(network)).catch((error) => { throw named(error, network); });
    const rec = await readRecording(recording).catch((error) => { throw named(error, recording); });
    if (mine !== state.loading) return; // something else was chosen meanwhile
    begin(net, rec, [network, recording]);
    describe(network);
    play();
  } catch (error) {
    if (mine !== state.loading) return;
    if (error.message.includes(UNSIZED)) $("sensor").focus(); // for an answer
    else if (state.loaded) [$("network").value, $("recording").value] = state.loaded; // still there
    fail(error);
  }
}

// Takes a network and a recording. If they do not fit, those before stay.
function begin(net, rec, loaded) {
  const before = { ...state };
  Object.assign(state, { net, rec, loaded });
  makeRules(net);
  try {
    start();
  } catch (error) {
    Object.assign(state, before);
    if (state.net) makeRules(state.net);
    throw named(error, loaded[0]);
  }
}

// ------------------------------------------------------------------------- the size of the sensor

const sensorOf = (name) => state.sensors.get(name) ?? SIZES[suffix(name)];
const showSensor = (name) => {
  const { width, height } = sensorOf(name) ?? {};
  $("sensor").value = width ? `${width}x${height}` : "";
};

function enterSensor() {
  const [name, text] = [$("recording").value, $("sensor").value.trim()];
  const found = /^(\d{1,5})\s*[x×,]\s*(\d{1,5})$/i.exec(text);
  if (text !== "" && !found) return fail(new LmhtError(`a sensor is WIDTHxHEIGHT, such as 240x180, not ${text}`));
  if (found) state.sensors.set(name, { width: Number(found[1]), height: Number(found[2]) });
  else state.sensors.delete(name);
  return load();
}

// A size that nobody stated or entered has to hold for all events.
function checkSensor(name, events, { width, height }) {
  if (!SIZES[suffix(name)] || state.sensors.has(name)) return;
  for (let i = 0; i < events.length; i++) {
    if (events.x(i) < width && events.y(i) < height) continue;
    throw new LmhtError(`has events beyond the ${width} x ${height} pixels of N-MNIST, and does not say ${UNSIZED}; ` +
      "enter the size of the sensor");
  }
}

function named(error, name) {
  return new LmhtError(`${name}: ${error.message}`, error.kind);
}

async function readRecording(name) {
  const opened = await Recording.open(state.recordings.get(name), name, sensorOf(name));
  const pieces = [];
  let length = 0;
  for (const piece of opened) {
    pieces.push(piece.bytes);
    length += piece.length;
    if (length > MAX_EVENTS) throw new LmhtError(`holds more than ${whole.format(MAX_EVENTS)} events; cut it`);
    if (pieces.length % 64 === 0) await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  if (length === 0) throw new LmhtError("holds no event");
  const events = new Events(joined(pieces));
  checkSensor(name, events, opened);
  const drawn = inOrder(events, opened);
  if (drawn.length === 0) throw new LmhtError("holds no valid event");
  const start = drawn.t(0);
  return { name, width: opened.width, height: opened.height, events, drawn, start,
    duration: drawn.t(drawn.length - 1) - start };
}

function joined(pieces) {
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

// The events to draw: on the sensor, and not earlier than the event before. The stream has rules of
// its own.
function inOrder(events, { width, height }) {
  const kept = [];
  let latest = -Infinity;
  for (let i = 0; i < events.length; i++) {
    const t = events.t(i);
    if (t < latest || events.x(i) >= width || events.y(i) >= height || events.p(i) > 1) continue;
    latest = t;
    kept.push(i);
  }
  if (kept.length === events.length) return events;
  return new Events(joined(kept.map((i) => events.slice(i, i + 1).bytes)));
}

// ----------------------------------------------------------------------------------------- windows

function chosenRule() {
  const rule = { ...state.net.window };
  const steps = state.net.input.steps;
  if ($("rule").value !== "") {
    const us = 1000 * Number($("rule").value);
    Object.assign(rule, { by: "time", length: us - (us % steps), hop: 0 });
  }
  if ($("overlap").checked && rule.by !== "recording") rule.hop = 1;
  return rule;
}

// Begins to run the recording.
function start() {
  const { net, rec } = state;
  state.rule = chosenRule();
  state.stream = net.stream({ width: rec.width, height: rec.height, window: state.rule, drop: true });
  Object.assign(state, { pushed: 0, ended: false, decisions: [], courses: [], shown: null, busy: 0, time: 0 });
  write($("command"), command());
}

function command() {
  const { rec } = state;
  const network = $("network").value;
  const word = (name, examples) => (name in examples ? `zoo:${stemOf(name)}` : quoted(name));
  const [net, recording] = [word(network, EXAMPLES.networks), word(rec.name, EXAMPLES.recordings)];
  const rule = chosenRule();
  // A stream has no known end, and its windows cannot be whole recordings.
  const begin = rule.by === "recording" ? `lmht run ${net} --data ${recording}` : `lmht stream ${net} ${recording}`;
  const [chosen, overlap] = [$("rule").value !== "", $("overlap").checked && rule.by !== "recording"];
  const length = chosen ? ` --by time --length ${rule.length}us` : "";
  const sensor = sensorOf(rec.name) ? ` --sensor ${rec.width}x${rec.height}` : "";
  return `${begin} --drop${sensor}${length}${overlap ? " --hop 1" : ""} --json -`;
}

// The name of a file as a word of a shell, which no verb takes for an option.
function quoted(name) {
  const path = name.startsWith("-") ? `./${name}` : name;
  return /^[\w./+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

// Runs windows for a few milliseconds.
function compute() {
  if (state.ended || !state.stream) return;
  const begin = performance.now();
  while (!state.ended && performance.now() - begin < BUDGET) {
    const decision = state.stream.next();
    if (decision) addDecision(decision);
    else pushMore();
  }
  state.busy += performance.now() - begin;
}

function pushMore() {
  const { events } = state.rec;
  if (state.pushed < events.length) {
    const end = Math.min(events.length, state.pushed + PIECE_EVENTS);
    state.stream.push(events.slice(state.pushed, end));
    state.pushed = end;
    return;
  }
  state.stream.finish();
  for (let decision; (decision = state.stream.next()) !== null;) addDecision(decision);
  state.ended = true;
}

function addDecision(decision) {
  const values = decision.logits.map((logit) => logit * state.net.scale);
  const layers = decision.byLayer.spikes.map((spikes, i) => spikes / state.neuronSteps[i]);
  state.decisions.push(decision);
  state.courses.push({ values, shares: softmax(values), layers });
}

// The time up to which everything is computed.
function computed() {
  if (state.ended) return state.rec.duration;
  const { events, start: first, duration } = state.rec;
  const reached = state.pushed < events.length ? events.t(state.pushed) - first : duration;
  return Math.max(0, Math.min(reached, duration));
}

// Index of the last decision whose window has ended; -1 before the first.
function decisionAt(time) {
  if (state.ended && time >= state.rec.duration) return state.decisions.length - 1;
  let [low, high] = [0, state.decisions.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (endOf(state.decisions[middle]) <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const endOf = (decision) => decision.time - state.rec.start;

// The logits of the window in progress, as far as its events have come; null where there is none.
function forming(index) {
  const next = state.decisions[index + 1];
  const waits = index >= 0 && state.time <= endOf(state.decisions[index]);
  if (!next || waits || next.events > MAX_FORMING || state.rule.by === "events") return null;
  const [logits] = state.net.run(countsUpTo(next, state.time)).logits;
  return { window: next.window, logits };
}

// The counts of the window of a decision, of the events up to `time`: [T_in][2][H][W].
function countsUpTo({ start: begin }, time) {
  const { net: { input, windowLength }, rec: { drawn, start: first, width, height, duration }, rule } = state;
  const counts = new Int32Array(windowLength);
  const length = rule.by === "time" ? rule.length : Math.max(duration, 1);
  const end = drawn.search(first + time + 1);
  for (let i = drawn.search(first + begin); i < end; i++) {
    const bin = Math.floor(((drawn.t(i) - first - begin) * input.steps) / length);
    const row = Math.floor((drawn.y(i) * input.height) / height);
    const column = Math.floor((drawn.x(i) * input.width) / width);
    const step = Math.min(bin, input.steps - 1);
    const place = ((step * 2 + drawn.p(i)) * input.height + row) * input.width + column;
    counts[place] = Math.min(counts[place] + 1, input.maxCount);
  }
  return counts;
}

// ---------------------------------------------------------------------------------------- pictures

function describe(network) {
  const { net, rec } = state;
  const scale = Math.min(1, LARGEST_SIDE / Math.max(rec.width, rec.height));
  const [width, height] = [rec.width, rec.height].map((side) => Math.max(1, Math.round(side * scale)));
  Object.assign($("events"), { width, height });
  $("events").style.width = `${Math.min(24 * (width / height), 100)}rem`;
  const context = $("events").getContext("2d", { alpha: false });
  const image = context.createImageData(width, height);
  state.picture = { context, image, pixels: new Uint32Array(image.data.buffer),
    counts: new Float32Array(2 * width * height), brightest: 1 };
  const spiking = net.layers.filter((layer) => layer.spikes >= 0);
  state.neuronSteps = spiking.map((layer) => layer.channels * layer.height * layer.width * layer.steps);
  const synaptic = net.layers.filter((layer) => layer.sops >= 0).map((layer) => layer.name);
  $("classes").replaceChildren();
  state.rows = makeLayerRows($("layers"), synaptic, spiking.length, observer);
  $("seek").max = String(rec.duration);
  write($("source"), `${whole.format(rec.drawn.length)} events of a sensor of ${rec.width} × ${rec.height} pixels`);
  write($("about"), aboutText(network));
}

function aboutText(network) {
  const { input, classes, weightBytes } = state.net;
  return `${network}: input ${input.channels} × ${input.height} × ${input.width}, ${input.steps} time-steps, ` +
    `${classes.length} classes, ${whole.format(Math.round(weightBytes / 1000))} kB of weights.`;
}

function makeRules(net) {
  const { by, length } = net.window;
  const own = { time: `${length / 1000} ms`, events: `${whole.format(length)} events`,
    recording: "the recording", none: "not stated" }[by];
  const value = $("rule").value;
  $("rule").replaceChildren(new Option(`as trained (${own})`, ""), ...LENGTHS.map((ms) => new Option(`${ms} ms`, ms)));
  $("rule").value = [...$("rule").options].some((option) => option.value === value) ? value : "";
  if (by === "none" && $("rule").value === "") $("rule").value = "100";
}

function draw(now) {
  requestAnimationFrame(draw);
  if (!state.rec) return;
  try {
    compute();
    advance(now);
    drawEvents();
    drawDecision(now);
  } catch (error) {
    state.stream = null;
    state.ended = true;
    fail(error);
  }
}

function advance(now) {
  const elapsed = Math.min(now - state.before, 250);
  state.before = now;
  state.pictures = [...state.pictures.filter((time) => time > now - 1000), now];
  state.span = 0;
  if (!state.playing) return;
  const wanted = state.time + elapsed * 1000 * state.speed;
  const reached = Math.min(wanted, computed());
  state.span = reached - state.time;
  state.time = reached;
  if (state.ended && state.time >= state.rec.duration) finishPlayback();
}

function finishPlayback() {
  if (embedded) {
    state.time = 0;
    return;
  }
  state.playing = false;
  say("ended");
}

// The events before the current time, which fade: an event counts e^(-age / trail).
function drawEvents() {
  const { rec, picture } = state;
  const { counts, image, pixels, context } = picture;
  const rule = state.stream?.network.window;
  const trail = Math.max(rule?.by === "time" ? TRAIL * rule.length : TRAIL_US, state.span / 2);
  const now = rec.start + state.time;
  const end = rec.drawn.search(now + 1);
  const first = Math.max(rec.drawn.search(now - 5 * trail), end - MAX_PAINTED);
  counts.fill(0);
  addFaded(counts, rec, first, end, now, trail);
  picture.brightest = paintEvents(counts, pixels, Math.max(picture.brightest, 1));
  context.putImageData(image, 0, 0);
}

function addFaded(counts, { drawn, width, height }, first, end, now, trail) {
  const { width: wide, height: tall } = $("events");
  for (let i = first; i < end; i++) {
    const column = Math.floor((drawn.x(i) * wide) / width);
    const row = Math.floor((drawn.y(i) * tall) / height);
    counts[(drawn.p(i) * tall + row) * wide + column] += Math.exp((drawn.t(i) - now) / trail);
  }
}

function drawDecision(now) {
  const { decisions, rec } = state;
  write($("clock"), seconds(state.time));
  if (!state.seeking) $("seek").value = String(state.time);
  $("seek").setAttribute("aria-valuetext", seconds(state.time));
  $("seek").style.setProperty("--computed", `${(100 * computed()) / Math.max(rec.duration, 1)}%`);
  write($("pause"), state.playing ? "Pause" : "Play");
  if (state.playing) say(state.ended || state.time < computed() ? "playing" : "computing");
  const index = decisionAt(state.time);
  if (index !== state.shown) showDecision(decisions[index], index);
  if (now - state.formed >= FORMING_MS) drawForming(index, now);
  if (now - state.charted >= CHARTS_MS) drawHistory(now);
  speak(decisions[index], now);
}

const nameOf = (label) => (label < 0 ? "unknown" : state.net.classes[label]);

function showDecision(decision, index) {
  state.shown = index;
  write($("answer"), decision ? nameOf(decision.label) : "–");
  write($("margin"), decision ? decision.margin.toFixed(3) : "–");
  write($("window"), decision ? whole.format(decision.window) : "–");
  $("incomplete").hidden = !decision?.incomplete;
  state.formed = 0;
  for (const what of ["events", "spikes", "sops"]) {
    write($(`window-${what}`), decision ? short(decision[what]) : "–");
  }
  write($("window-time"), decision ? lasting(decision.seconds) : "–");
  drawEnergies(decision);
  state.charted = 0; // the charts follow at once
}

// The bars are those of the window in progress; where nothing forms, those of the last window.
function drawForming(index, now) {
  state.formed = now;
  const found = forming(index);
  const values = found?.logits.map((logit) => logit * state.net.scale);
  const course = found ? { values, shares: softmax(values) } : state.courses[index];
  if (course) drawClasses($("classes"), course, nameOf);
  const best = found && values.indexOf(Math.max(...values));
  write($("forming"), found ? `${nameOf(best)}, ${Math.round(100 * course.shares[best])} %` : "–");
}

function drawEnergies(decision) {
  EXAMPLES.energies.forEach(({ title, picojoules }, i) => {
    const item = $("energies").children[i] ?? makeEnergy(title);
    write(item.lastChild, decision ? joules(decision.sops * picojoules) : "–");
  });
}

function makeEnergy(title) {
  const item = document.createElement("div");
  item.appendChild(document.createElement("dt")).textContent = `energy, ${title}`;
  item.appendChild(document.createElement("dd"));
  return $("energies").appendChild(item);
}

function joules(picojoules) {
  const units = ["pJ", "nJ", "µJ", "mJ", "J"];
  let value = picojoules;
  while (value >= 1000 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${value.toPrecision(3)} ${units[0]}`;
}

function drawHistory(now) {
  state.charted = now;
  drawCharts();
  write($("pictures"), state.pictures.length);
  write($("windows"), whole.format(state.decisions.length));
  if (state.busy > 0) write($("rate"), short((1000 * state.pushed) / state.busy));
  if (state.stream) write($("losses"), lossText(state.stream.losses));
}

function lossText({ outside, polarity, order, skipped }) {
  const dropped = outside + polarity + order;
  return [dropped ? `${whole.format(dropped)} events were not valid and were dropped.` : "",
    skipped ? `${whole.format(skipped)} empty windows were skipped.` : ""].join(" ");
}

function drawCharts() {
  readTheme();
  if (!state.rec) return;
  const courses = state.courses.slice(Math.max(0, state.shown + 1 - WINDOWS), state.shown + 1);
  const room = Math.min(Math.max(state.decisions.length, 2), WINDOWS);
  drawLines($("course"), courses, state.logits, room, 0);
  const decision = state.decisions[state.shown];
  if (decision) drawLayerRows(state.rows, decision.byLayer, courses, room, 0);
}

function speak(decision, now) {
  if (!decision || embedded || now - state.spoken < SPOKEN_MS) return;
  write($("spoken"), `answer ${nameOf(decision.label)}, margin ${decision.margin.toFixed(1)}`);
  state.spoken = now;
}

// ---------------------------------------------------------------------------------------- commands

function play() {
  if (state.ended && state.time >= state.rec.duration) state.time = 0;
  state.playing = true;
}

function pause() {
  if (!state.rec || !state.stream) return;
  if (!state.playing) return play();
  state.playing = false;
  say("paused");
}

function rest(time) {
  if (!state.rec) return;
  state.playing = false;
  say("paused");
  seek(time);
}

function seek(time) {
  if (state.rec) state.time = Math.min(Math.max(time, 0), state.rec.duration, computed());
}

// To the end of the window after or before the one that is shown.
function step(windows) {
  if (!state.rec) return;
  const index = Math.min(decisionAt(state.time) + windows, state.decisions.length - 1);
  rest(index < 0 ? 0 : endOf(state.decisions[index]));
}

function showSpeed(speed) {
  state.speed = speed;
  $("speed").value = String(speed);
}

const jump = (share) => state.rec && seek(state.time + share * state.rec.duration);

const KEYS = {
  " ": pause,
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  "Shift+ArrowRight": () => jump(0.05),
  "Shift+ArrowLeft": () => jump(-0.05),
  Home: () => jump(-1),
  End: () => jump(1),
  l: () => $("unit").click(),
  o: () => $("file").click(),
};

listenToKeys(KEYS);

// The decisions as `lmht stream --json` writes them, without the times that the machine took.
function decisionLines() {
  return state.decisions.map((decision) => {
    const { seconds: _seconds, byLayer: _layers, traces: _traces, ...found } = decision;
    return JSON.stringify({ ...found, class: nameOf(found.label) });
  });
}

function save() {
  const address = URL.createObjectURL(new Blob([`${decisionLines().join("\n")}\n`], { type: "application/json" }));
  const name = `${stemOf(state.rec.name)}.jsonl`;
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function restart() {
  if (!state.rec) return;
  try {
    start();
    play();
  } catch (error) {
    fail(error);
  }
}

function chooseRecording() {
  showSpeed($("recording").value in EXAMPLES.recordings ? 0.1 : 1);
  return load();
}

// Chooses a network, with the example that was made for it in place of another example.
function chooseNetwork() {
  const own = `${stemOf($("network").value)}.raw`;
  if (!(own in EXAMPLES.recordings && $("recording").value in EXAMPLES.recordings)) return load();
  $("recording").value = own;
  return chooseRecording();
}

$("pause").addEventListener("click", pause);
$("step").addEventListener("click", () => step(1));
$("back").addEventListener("click", () => step(-1));
$("speed").addEventListener("change", () => { state.speed = Number($("speed").value) || Infinity; });
$("seek").addEventListener("input", () => { state.seeking = true; seek(Number($("seek").value)); });
$("seek").addEventListener("change", () => { state.seeking = false; });
$("network").addEventListener("change", chooseNetwork);
$("recording").addEventListener("change", chooseRecording);
for (const name of ["rule", "overlap"]) $(name).addEventListener("change", restart);
$("sensor").addEventListener("change", enterSensor);
$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => openFiles([...$("file").files]).catch(fail));
$("save").addEventListener("click", save);
$("unit").addEventListener("click", () => {
  state.logits = !state.logits;
  $("unit").setAttribute("aria-pressed", String(state.logits));
  $("course-name").textContent = state.logits ? "Logit" : "Probability";
  drawCharts();
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").hidden = false;
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  openFiles([...event.dataTransfer.files]).catch(fail);
});
dark.addEventListener("change", () => requestAnimationFrame(drawCharts));
observer.observe($("course"));

async function main() {
  document.body.classList.toggle("embedded", embedded);
  for (const [name, { title, content }] of [...Object.entries(EXAMPLES.networks), ...Object.entries(EXAMPLES.recordings)]) {
    addFile(name, await unpack(content), title);
  }
  [$("network").value, $("recording").value] = ["digits.lmht", "digits.raw"];
  showSpeed(0.1);
  await load();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) rest(0);
}

globalThis.page = { state, addFile, openFiles, load, decisionLines, countsUpTo, $ }; // for tests
requestAnimationFrame(draw);
main().catch(fail);
