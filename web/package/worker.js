// What a worker of pool.js runs: reads the network, then runs windows.
import { Network } from "./lmht.js";

const inBrowser = typeof globalThis.postMessage === "function";
const threads = "node:worker_threads";
const port = inBrowser ? globalThis : (await import(/* webpackIgnore: true */ /* @vite-ignore */ threads)).parentPort;
let network = null;

port.onmessage = async ({ data }) => {
  try {
    if (data.content) network = await Network.read(data.content);
    const result = data.content ? null : network.run(data.windows, data);
    port.postMessage({ result }, result?.traces?.map(({ buffer }) => buffer) ?? []);
  } catch ({ message, kind }) {
    port.postMessage({ error: { message, kind: kind ?? "internal" } });
  }
};
