// Networks, recordings and streams in WebAssembly. Each network and each recording has a memory of
// its own, which goes away with the object: nothing has to be freed.
import { areSwitches, asBytes, demand, fill, isInt32, isList, optionsOf, shown } from "./arguments.js";
import { LmhtError } from "./errors.js";
import { flatFromHdf5, isFlat, isHdf5 } from "./hdf5.js";
import { WASM } from "./wasm.js";

const STATUS = { "-1": "argument", "-2": "file", "-3": "unsupported", "-4": "io", "-5": "event", "-6": "memory" };
const NONE = 1; // LMHT_NONE
const TRACE = 1; // LMHT_TRACE
const RULES = ["none", "recording", "time", "events"];
const LAYERS = ["input", "neurons", "sum pool", "max pool", "flatten", "readout"];
const EVENT_BYTES = 16;
const PIECE = 2 ** 14; // events that are decoded at once
const NO_FUNCTION = 52; // ENOSYS, of what the module asks its system for

// ------------------------------------------------------------------------------------- the module

let compiled = null;

async function compile() {
  const packed = Uint8Array.from(atob(WASM), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return WebAssembly.compile(await new Response(stream).arrayBuffer());
}

// An instance of the module: its memory, and its functions with errors as exceptions.
class Instance {
  static async create() {
    const instance = new Instance();
    try {
      const module = await (compiled ??= compile());
      instance.exports = (await WebAssembly.instantiate(module, instance.imports())).exports;
      instance.exports._initialize();
    } catch (error) {
      compiled = null;
      throw new LmhtError(`the engine cannot be loaded (${error.message})`, "internal");
    }
    return instance;
  }

  imports() {
    const system = new Proxy({}, { get: () => () => NO_FUNCTION, has: () => true });
    const raise = (status, message) => {
      throw new LmhtError(this.text(message), STATUS[status] ?? "internal");
    };
    const clock_time_get = (_clock, _precision, at) => {
      this.view().setBigInt64(at, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    };
    const environ_sizes_get = (count, bytes) => {
      this.view().setUint32(count, 0, true);
      this.view().setUint32(bytes, 0, true);
      return 0;
    };
    const known = { clock_time_get, environ_sizes_get, environ_get: () => 0 };
    return {
      lmht: { raise },
      wasi_snapshot_preview1: new Proxy(known, { get: (functions, name) => functions[name] ?? system[name] }),
    };
  }

  // What a function returns; an error is thrown. An address comes as a signed integer.
  call(name, ...values) {
    const { lmht_web_stack, lmht_web_restore } = this.exports;
    const stack = lmht_web_stack();
    try {
      return this.exports[name](...values);
    } catch (error) {
      lmht_web_restore(stack);
      if (error instanceof LmhtError) throw error;
      throw new LmhtError(`the engine stopped (${error.message}); there may not be enough memory`, "memory");
    }
  }

  view() {
    return new DataView(this.exports.memory.buffer);
  }

  // Memory for `bytes` bytes.
  allocate(bytes) {
    const at = bytes < 2 ** 32 ? this.exports.malloc(Math.max(bytes, 1)) >>> 0 : 0;
    if (at === 0) throw new LmhtError("there is not enough memory", "memory");
    return at;
  }

  // Calls `body` with the address of memory that lives as long as the call.
  scratch(bytes, body) {
    const at = this.allocate(bytes);
    try {
      return body(at);
    } finally {
      this.exports.free(at);
    }
  }

  bytes(at, size) {
    return new Uint8Array(this.exports.memory.buffer, at, size);
  }

  copy(bytes) {
    const at = this.allocate(bytes.length);
    this.bytes(at, bytes.length).set(bytes);
    return at;
  }

  // An object that the function `name` makes; its address is the last argument.
  make(name, ...values) {
    return this.scratch(4, (at) => {
      this.call(name, ...values, at);
      return this.view().getUint32(at, true);
    });
  }

  withText(text, body) {
    if (text == null) return body(0);
    const encoded = new TextEncoder().encode(`${text}\0`);
    return this.scratch(encoded.length, (at) => {
      this.bytes(at, encoded.length).set(encoded);
      return body(at);
    });
  }

  text(address) {
    const at = address >>> 0;
    if (at === 0) return null;
    const memory = new Uint8Array(this.exports.memory.buffer);
    return new TextDecoder().decode(memory.slice(at, memory.indexOf(0, at)));
  }

  integers(address, count) {
    const [view, at] = [this.view(), address >>> 0];
    return Array.from({ length: count }, (_, i) => integer(view.getBigInt64(at + 8 * i, true)));
  }
}

function integer(big) {
  const value = Number(big);
  if (Number.isSafeInteger(value)) return value;
  throw new LmhtError(`the integer ${big} is larger than JavaScript represents exactly`, "unsupported");
}

// Reads the fields of a structure one after another, as C lays them out.
class Fields {
  constructor(instance, at) {
    this.view = instance.view();
    this.at = at;
  }

  next(bytes) {
    const at = Math.ceil(this.at / bytes) * bytes;
    this.at = at + bytes;
    return at;
  }

  int32() {
    return this.view.getInt32(this.next(4), true);
  }

  int64() {
    return integer(this.view.getBigInt64(this.next(8), true));
  }

  double() {
    return this.view.getFloat64(this.next(8), true);
  }
}

// -------------------------------------------------------------------------------------- networks

function metadataOf(text) {
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    // refused below
  }
  const named = found !== null && typeof found === "object" && !Array.isArray(found);
  const valid = named && Object.values(found).every((value) => typeof value === "string");
  if (!valid) throw new LmhtError("its metadata are not texts by name in JSON; the file is damaged", "file");
  return found;
}

export class Network {
  static async read(content) {
    const instance = await Instance.create();
    const given = asBytes(content);
    const bytes = isHdf5(given) ? flatFromHdf5(given) : given;
    if (!isFlat(bytes)) throw new LmhtError("is neither a .lmht nor a .lmhtf file", "file");
    const at = instance.copy(bytes);
    const handle = instance.make("lmht_network_read", at, bytes.length, 0);
    instance.exports.free(at);
    return new Network(instance, handle);
  }

  constructor(instance, handle) {
    demand(instance instanceof Instance, "a network is made by Network.read");
    this._instance = instance;
    this._handle = handle;
    Object.assign(this, this._info());
    this.layers = Array.from({ length: this._counts.layers }, (_, i) => this._layer(i));
    this.classes = Array.from({ length: this._counts.classes }, (_, i) =>
      instance.text(instance.call("lmht_network_class_name", handle, i)) ?? String(i));
    this.metadata = metadataOf(instance.text(instance.call("lmht_network_metadata", handle)));
    this._engine = instance.make("lmht_engine_create", handle, 1);
    this._result = instance.make("lmht_result_create");
  }

  _info() {
    return this._instance.scratch(256, (at) => {
      this._instance.call("lmht_network_get_info", this._handle, at);
      const fields = new Fields(this._instance, at);
      const [channels, height, width, steps] = [fields.int32(), fields.int32(), fields.int32(), fields.int32()];
      const [minCount, maxCount] = [fields.int32(), fields.int32()];
      const kind = ["events", "image"][fields.int32()];
      const [classes, layers] = [fields.int32(), fields.int32()];
      const [neurons, synaptic] = [fields.int32(), fields.int32(), fields.int32()];
      const [scale, minMargin, weightBytes] = [fields.double(), fields.double(), fields.int64()];
      const [by, hop, length] = [RULES[fields.int32()], fields.int32(), fields.int64()];
      return {
        input: { channels, height, width, steps, minCount, maxCount, kind },
        scale, minMargin, weightBytes, window: { by, length, hop },
        _counts: { classes, layers, neurons, synaptic },
      };
    });
  }

  _layer(index) {
    return this._instance.scratch(128, (at) => {
      this._instance.call("lmht_network_get_layer", this._handle, index, at);
      const fields = new Fields(this._instance, at);
      const name = this._instance.text(fields.int32());
      const type = LAYERS[fields.int32()];
      const [channels, height, width] = [fields.int32(), fields.int32(), fields.int32()];
      const [steps, levels, spikes, sops] = [fields.int32(), fields.int32(), fields.int32(), fields.int32()];
      return { name, type, channels, height, width, steps, levels, spikes, sops, macs: fields.int64() };
    });
  }

  get windowLength() {
    const { steps, channels, height, width } = this.input;
    return steps * channels * height * width;
  }

  run(windows, options = {}) {
    const { trace = false } = optionsOf(options, ["trace"]);
    this._check(windows, trace);
    const instance = this._instance;
    const count = windows.length / this.windowLength;
    instance.scratch(4 * windows.length, (at) => {
      const target = new Int32Array(instance.exports.memory.buffer, at, windows.length);
      demand(fill(target, windows), "windows are integers of 32 bits");
      instance.call("lmht_engine_run", this._engine, at, count, trace ? TRACE : 0, this._result);
    });
    return readResult(this, this._result);
  }

  _check(windows, trace) {
    demand(isList(windows), `windows are an array of integers, not ${shown(windows)}`);
    demand(windows.length % this.windowLength === 0,
      `windows hold a multiple of ${this.windowLength} integers, not ${windows.length}`);
    demand(areSwitches(trace), "trace is true or false");
  }

  stream(options = {}) {
    return new Stream(this, options);
  }
}

function readResult(network, handle) {
  const instance = network._instance;
  const { classes, neurons, synaptic } = network._counts;
  const count = instance.call("lmht_result_windows", handle);
  const table = (name, columns) => {
    const all = instance.integers(instance.call(name, handle), count * columns);
    return Array.from({ length: count }, (_, i) => all.slice(i * columns, (i + 1) * columns));
  };
  return {
    logits: table("lmht_result_logits", classes),
    spikes: table("lmht_result_spikes", neurons),
    events: table("lmht_result_events", neurons),
    sops: table("lmht_result_sops", synaptic),
    eventSops: table("lmht_result_event_sops", synaptic),
    answers: Array.from({ length: count }, (_, i) => instance.call("lmht_result_answer", handle, i)),
    traces: readTraces(network, handle, count),
    seconds: instance.call("lmht_result_seconds", handle),
  };
}

function readTraces(network, handle, count) {
  const instance = network._instance;
  const layers = network.layers.filter((layer) => layer.spikes >= 0);
  const traces = layers.map(({ spikes, steps, channels, height, width }) => {
    const at = instance.call("lmht_result_trace", handle, spikes) >>> 0;
    const size = count * steps * channels * height * width;
    return at === 0 ? null : new Int32Array(instance.exports.memory.buffer, at, size).slice();
  });
  return traces.includes(null) ? null : traces;
}

// ----------------------------------------------------------------------------------------- events

export class Events {
  constructor(bytes) {
    demand(bytes instanceof Uint8Array && bytes.length % EVENT_BYTES === 0,
      `events are a Uint8Array of ${EVENT_BYTES} bytes each`);
    this.bytes = asBytes(bytes);
    this._view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  static from(columns = {}) {
    const { t, x, y, p } = optionsOf(columns, ["t", "x", "y", "p"]);
    const valid = [t, x, y, p].every((column) => isList(column) && column.length === t.length);
    demand(valid, "events have one t, x, y and p each");
    const events = new Events(room(EVENT_BYTES * t.length));
    for (let i = 0; i < t.length; i++) events._set(i, t[i], x[i], y[i], p[i]);
    return events;
  }

  _set(index, t, x, y, p) {
    const at = EVENT_BYTES * index;
    demand([x, y].every((address) => Number.isInteger(address) && address >= 0 && address < 2 ** 16),
      `event ${index} has the address (${shown(x)}, ${shown(y)}), which is not within 0..65535`);
    demand(Number.isSafeInteger(t) && Number.isInteger(p) && p >= 0 && p < 256, `event ${index} is not an event`);
    this._view.setBigInt64(at, BigInt(t), true);
    this._view.setUint16(at + 8, x, true);
    this._view.setUint16(at + 10, y, true);
    this._view.setUint8(at + 12, p);
  }

  // 0 once the memory has been transferred to another thread.
  get length() {
    return this.bytes.length / EVENT_BYTES;
  }

  t(index) {
    const at = this._at(index);
    return this._view.getUint32(at, true) + 2 ** 32 * this._view.getInt32(at + 4, true);
  }

  x(index) {
    return this._view.getUint16(this._at(index) + 8, true);
  }

  y(index) {
    return this._view.getUint16(this._at(index) + 10, true);
  }

  p(index) {
    return this._view.getUint8(this._at(index) + 12);
  }

  _at(index) {
    if (Number.isInteger(index) && index >= 0 && index < this.length) return EVENT_BYTES * index;
    throw new LmhtError(`there is no event ${shown(index)}; the index is an integer below ${this.length}`);
  }

  slice(start, end = this.length) {
    demand([start, end].every(Number.isInteger), "the start and the end of a slice are integers");
    return new Events(this.bytes.subarray(EVENT_BYTES * start, EVENT_BYTES * end));
  }

  // The index of the first event at time t or later; the times must rise.
  search(t) {
    demand(typeof t === "number" && !Number.isNaN(t), `a time is a number, not ${shown(t)}`);
    let [low, high] = [0, this.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.t(middle) < t) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function room(bytes) {
  try {
    return new Uint8Array(bytes);
  } catch {
    throw new LmhtError("there is not enough memory", "memory");
  }
}

export class Recording {
  static async open(content, name, options = {}) {
    const { width = 0, height = 0, track = null } = optionsOf(options, ["width", "height", "track"]);
    demand(typeof name === "string", "a recording has a name, whose suffix is that of its format");
    demand([width, height].every(isInt32), "the size of a sensor is two integers");
    demand(track === null || typeof track === "string", `a track is a name, not ${shown(track)}`);
    const instance = await Instance.create();
    const bytes = asBytes(content);
    const at = instance.copy(bytes);
    const handle = instance.withText(name, (named) => instance.withText(track, (chosen) =>
      instance.make("lmht_recording_read", at, bytes.length, named, width, height, chosen)));
    return new Recording(instance, handle);
  }

  constructor(instance, handle) {
    demand(instance instanceof Instance, "a recording is opened by Recording.open");
    this._instance = instance;
    this._handle = handle;
    this.width = instance.call("lmht_recording_width", handle);
    this.height = instance.call("lmht_recording_height", handle);
    this._room = instance.allocate(PIECE * EVENT_BYTES);
    this._count = instance.allocate(4);
  }

  // The next events; null at the end of the file.
  next() {
    const instance = this._instance;
    const status = instance.call("lmht_recording_next", this._handle, this._room, PIECE, this._count);
    if (status === NONE) return null;
    const count = instance.view().getUint32(this._count, true);
    return new Events(instance.bytes(this._room, count * EVENT_BYTES).slice());
  }

  *[Symbol.iterator]() {
    for (let events; (events = this.next()) !== null;) yield events;
  }
}

// ---------------------------------------------------------------------------------------- streams

const MAX_GAP = 10_000_000;
const OPTIONS = ["width", "height", "window", "drop", "smooth", "minMargin", "maxGap", "trace"];

// Frees the streams that are gone, whose memory is that of their network.
const streams = new FinalizationRegistry(({ instance, handle, decision }) => {
  instance.exports.lmht_stream_free(handle);
  instance.exports.free(decision);
});

export class Stream {
  constructor(network, options = {}) {
    demand(network instanceof Network, "a stream is begun by the method stream of a network");
    const { width = network.input.width, height = network.input.height, window = {}, drop = false, smooth = 1,
      minMargin = -1, maxGap = MAX_GAP, trace = false } = optionsOf(options, OPTIONS);
    demand([width, height].every(isInt32), "the size of a sensor is two integers");
    this.network = network;
    this.trace = trace;
    this._instance = network._instance;
    const rule = { ...network.window, ...optionsOf(window, ["by", "length", "hop"]) };
    demand(window.by === undefined || RULES.indexOf(window.by) > 0,
      `windows are cut by ${RULES.slice(1).join(", ")}, not by ${shown(window.by)}`);
    const given = { rule, drop, smooth, minMargin, maxGap, trace };
    this._handle = this._instance.scratch(128, (at) => {
      this._writeOptions(at, given);
      return this._instance.make("lmht_stream_create", network._handle, width, height, at);
    });
    this._decision = this._instance.allocate(128);
    streams.register(this, { instance: this._instance, handle: this._handle, decision: this._decision });
  }

  _writeOptions(at, { rule, drop, smooth, minMargin, maxGap, trace }) {
    const view = this._instance.view();
    demand([rule.length, maxGap].every(Number.isSafeInteger), "a length and a gap are integers");
    demand([rule.hop, smooth].every(isInt32), "a hop and a number of windows are integers");
    demand(areSwitches(drop, trace), "drop and trace are true or false");
    demand(Number.isFinite(minMargin), "the smallest margin is a number");
    view.setInt32(at, RULES.indexOf(rule.by), true);
    view.setInt32(at + 4, rule.hop, true);
    view.setBigInt64(at + 8, BigInt(rule.length), true);
    [1, Number(drop), smooth, trace ? TRACE : 0].forEach((value, i) => view.setInt32(at + 16 + 4 * i, value, true));
    view.setBigInt64(at + 32, BigInt(maxGap), true);
    view.setFloat64(at + 40, minMargin, true);
  }

  push(events) {
    demand(events instanceof Events, "events are an object of the class Events");
    const instance = this._instance;
    instance.scratch(events.bytes.length, (at) => {
      instance.bytes(at, events.bytes.length).set(events.bytes);
      instance.call("lmht_stream_push", this._handle, at, events.length);
    });
    return this.decisions();
  }

  elapse(t) {
    demand(Number.isSafeInteger(t), "a time is an integer, in microseconds");
    this._instance.call("lmht_stream_elapse", this._handle, BigInt(t));
    return this.decisions();
  }

  finish() {
    this._instance.call("lmht_stream_finish", this._handle);
    return this.decisions();
  }

  // The decisions that are due: windows run when they are asked for.
  *decisions() {
    for (let decision; (decision = this.next()) !== null;) yield decision;
  }

  next() {
    const instance = this._instance;
    const status = instance.call("lmht_stream_next", this._handle, this._decision);
    return status === NONE ? null : this._read();
  }

  _read() {
    const fields = new Fields(this._instance, this._decision);
    const [window, start, time] = [fields.int64(), fields.int64(), fields.int64()];
    const [label, incomplete, margin] = [fields.int32(), fields.int32() === 1, fields.double()];
    const [events, lost, spikes, sops] = [fields.int64(), fields.int64(), fields.int64(), fields.int64()];
    const seconds = fields.double();
    const handle = this._instance.call("lmht_stream_result", this._handle);
    const result = readResult(this.network, handle);
    const byLayer = { spikes: result.spikes[0], events: result.events[0], sops: result.sops[0],
      eventSops: result.eventSops[0] };
    const { steps } = this.network.input;
    return { window, start, time, label, margin, logits: result.logits[0], incomplete, events, lost, spikes, sops, steps,
      seconds, byLayer, traces: result.traces };
  }

  get losses() {
    return this._instance.scratch(64, (at) => {
      this._instance.call("lmht_stream_get_losses", this._handle, at);
      const [outside, polarity, order, late, skipped] = this._instance.integers(at, 5);
      return { outside, polarity, order, late, skipped };
    });
  }
}
