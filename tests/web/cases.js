// Runs what tests/web/cases.py wrote, with the classes of lmht.js; the answers go back as JSON.

const unpacked = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const integers = (text) => new Int32Array(unpacked(text).buffer);

const TASKS = {
  async run({ network, windows }) {
    const net = await Network.read(unpacked(network));
    const { logits, spikes, events, sops, eventSops, answers, traces } = net.run(integers(windows), { trace: true });
    return { logits, spikes, events, sops, eventSops, answers, traces: traces.map((trace) => [...trace]) };
  },
  async pool({ network, windows, workers }) {
    const pool = await Pool.read(unpacked(network), { workers });
    const result = await pool.run(integers(windows), { trace: true });
    pool.close();
    return { ...result, traces: result.traces.map((trace) => [...trace]) };
  },
  async script({ network, text }) {
    return new Function("Pool", "content", `return (async () => {${text}})()`)(Pool, unpacked(network));
  },
  async flat({ network }) {
    return Array.from(flatFromHdf5(unpacked(network)));
  },
  async stream({ network, recording, name, options, sensor }) {
    const net = await Network.read(unpacked(network));
    const rec = await Recording.open(unpacked(recording), name, sensor);
    const stream = net.stream({ width: rec.width, height: rec.height, ...options });
    const found = [];
    for (const events of rec) found.push(...stream.push(events));
    found.push(...stream.finish());
    return { decisions: found, losses: stream.losses };
  },
  async decode({ recording, name, sensor }) {
    const rec = await Recording.open(unpacked(recording), name, sensor);
    const found = [];
    for (const events of rec) {
      for (let i = 0; i < events.length; i++) found.push([events.t(i), events.x(i), events.y(i), events.p(i)]);
    }
    return { width: rec.width, height: rec.height, events: found };
  },
  async expression({ network, text }) {
    const net = await Network.read(unpacked(network));
    return new Function("net", "Network", "Recording", "Events", "LmhtError", `return ${text}`)(net, Network,
      Recording, Events, LmhtError);
  },
};

async function answer(task) {
  try {
    return await TASKS[task.kind](task);
  } catch (error) {
    return { error: error.name, kind: error.kind, message: error.message };
  }
}

async function answerAll(tasks) {
  const found = [];
  for (const task of tasks) found.push(await answer(task));
  return JSON.stringify(found);
}
