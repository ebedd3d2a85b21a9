// Runs ONNX files in onnxruntime-web: node run.cjs FOLDER, which has <name>.onnx and <name>.json.
const fs = require("fs");
const path = require("path");
const ort = require("onnxruntime-web");

const ARRAYS = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array };

async function run(folder, name) {
  const { type, shape, values } = JSON.parse(fs.readFileSync(path.join(folder, `${name}.json`)));
  const model = fs.readFileSync(path.join(folder, `${name}.onnx`));
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const windows = new ort.Tensor(type, ARRAYS[type].from(values), shape);
  const outputs = Object.entries(await session.run({ windows }));
  return Object.fromEntries(outputs.map(([key, tensor]) => [key, Array.from(tensor.data, Number)]));
}

async function main(folder) {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const names = fs.readdirSync(folder).filter((file) => file.endsWith(".onnx"));
  for (const name of names.map((file) => file.slice(0, -5)).sort())
    fs.writeFileSync(path.join(folder, `${name}.out`), JSON.stringify(await run(folder, name)));
}

main(process.argv[2]).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
