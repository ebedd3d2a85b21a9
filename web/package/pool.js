// A network in several workers, which run the windows of a batch. Each worker has its own instance
// of the engine. They share no memory, so a page needs no special headers.
import { asBytes, demand, fill, optionsOf } from "./arguments.js";
import { Network } from "./engine.js";
import { LmhtError } from "./errors.js";

const PIECES = 4; // of a batch per worker: small pieces keep all workers busy until the end
const MAX_WORKERS = 256;
const BY_WINDOW = ["logits", "spikes", "events", "sops", "eventSops", "answers"];
// Imports a module of Node.js. The comments tell bundlers for browsers not to resolve it.
const node = (name) => import(/* webpackIgnore: true */ /* @vite-ignore */ `node:${name}`);

export class Pool {
  static async read(content, options = {}) {
    const { workers } = optionsOf(options, ["workers"]);
    const count = workers ?? globalThis.navigator?.hardwareConcurrency ?? (await node("os")).cpus().length;
    demand(Number.isInteger(count) && count >= 1 && count <= MAX_WORKERS, `workers must be within 1..${MAX_WORKERS}`);
    const bytes = asBytes(content).slice(); // alone in its memory, all of which goes to each worker
    const pool = new Pool(await Network.read(bytes), []);
    try {
      while (pool.workers < count) pool._members.push(await Member.start());
      await Promise.all(pool._members.map((member) => member.ask({ content: bytes })));
    } catch (error) {
      pool.close();
      throw error;
    }
    return pool;
  }

  constructor(network, members) {
    demand(network instanceof Network, "a pool is made by Pool.read");
    this.network = network;
    this._members = members;
  }

  get workers() {
    return this._members.length;
  }

  async run(windows, options = {}) {
    const { trace = false } = optionsOf(options, ["trace"]);
    const { windowLength } = this.network;
    this.network._check(windows, trace);
    if (windows.length === 0) return this.network.run(windows); // says that there is none
    const count = windows.length / windowLength;
    const size = Math.ceil(count / (PIECES * this.workers));
    const found = new Array(Math.ceil(count / size));
    let next = 0;
    const work = async (member) => {
      while (next < found.length) {
        const piece = next++;
        found[piece] = await member.run(windows, piece * size, Math.min((piece + 1) * size, count), windowLength, trace);
      }
    };
    try {
      await Promise.all(this._members.map(work));
    } finally {
      next = found.length; // after an error, the other workers stop
    }
    return joined(found);
  }

  close() {
    for (const member of this._members) member.end(new LmhtError("the pool is closed"));
  }
}

function joined(results) {
  const all = Object.fromEntries(BY_WINDOW.map((name) => [name, results.flatMap((result) => result[name])]));
  const traces = results[0].traces?.map((_, layer) => concatenated(results.map((result) => result.traces[layer])));
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0);
  return { ...all, traces: traces ?? null, seconds };
}

function concatenated(arrays) {
  const found = new Int32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    found.set(array, at);
    at += array.length;
  }
  return found;
}

// One worker. It answers messages in their order.
class Member {
  static async start() {
    return new Member(await startWorker());
  }

  constructor(worker) {
    this._worker = worker;
    this._waiting = [];
    this._ended = null;
    worker.onmessage = ({ data }) => {
      const asked = this._waiting.shift(); // undefined after `end`
      if (data.error) asked?.reject(new LmhtError(data.error.message, data.error.kind));
      else asked?.resolve(data.result);
    };
    worker.onerror = (error) => this.end(new LmhtError(`a worker ended: ${error?.message || "it cannot be loaded"}`, "internal"));
  }

  ask(message, transfer = []) {
    if (this._ended) return Promise.reject(this._ended);
    return new Promise((resolve, reject) => {
      this._waiting.push({ resolve, reject });
      this._worker.postMessage(message, transfer);
    });
  }

  async run(windows, first, end, length, trace) {
    const slice = ArrayBuffer.isView(windows) ? windows.subarray : Array.prototype.slice;
    const piece = new Int32Array((end - first) * length);
    demand(fill(piece, slice.call(windows, first * length, end * length)), "windows are integers of 32 bits");
    try {
      return await this.ask({ windows: piece, trace }, [piece.buffer]);
    } catch (error) {
      error.message = error.message.replace(/^window (\d+)/, (_, index) => `window ${first + Number(index)}`);
      throw error;
    }
  }

  end(error) {
    this._ended ??= error;
    this._worker.terminate();
    for (const { reject } of this._waiting.splice(0)) reject(this._ended);
  }
}

// Starts a Web Worker, or a worker thread of Node.js with the same handlers of messages and errors.
async function startWorker() {
  try {
    if (globalThis.Worker) return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    const worker = new (await node("worker_threads")).Worker(new URL("./worker.js", import.meta.url));
    worker.on("message", (data) => worker.onmessage({ data }));
    worker.on("error", (error) => worker.onerror(error));
    return worker;
  } catch (error) { // a page that is opened from the disk
    throw new LmhtError(`a worker cannot be started (${error.message})`, "internal");
  }
}
