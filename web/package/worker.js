// The worker of pool.js. The first message is the network, and each later one has windows to run.
import { Network } from "./engine.js";

let network = null;

function serve(port) {
  port.onmessage = async ({ data }) => {
    try {
      if (data.content) network = await Network.read(data.content);
      const result = data.content ? null : network.run(data.windows, { trace: data.trace });
      port.postMessage({ result }, result?.traces?.map(({ buffer }) => buffer) ?? []);
    } catch ({ message, kind }) {
      port.postMessage({ error: { message, kind: kind ?? "internal" } });
    }
  };
}

const threads = "node:worker_threads";
if (typeof globalThis.postMessage === "function") serve(globalThis);
else import(/* webpackIgnore: true */ /* @vite-ignore */ threads).then(({ parentPort }) => serve(parentPort));
