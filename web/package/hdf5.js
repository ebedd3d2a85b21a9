// `.lmht` files -> the bytes of a `.lmhtf` file, which the engine reads and checks. A `.lmht` file is
// HDF5; this reads the layout that lmht-deploy writes and no other: version 0 of the superblock,
// version 1 of the object headers, groups with symbol tables, data sets in one piece. The names are
// those of the HDF5 File Format Specification. SCHEMA has the keys of both formats.
import { LmhtError } from "./errors.js";
import { SCHEMA } from "./schema.js";

const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
const MESSAGES = { DATASPACE: 1, DATATYPE: 3, LAYOUT: 8, ATTRIBUTE: 12, CONTINUATION: 16, SYMBOL_TABLE: 17 };
const NO_MEANING = [0, 4, 5, 18]; // messages: nothing, fill values, time of change
const CONTIGUOUS = 1;
const DEPTH = 8; // of groups, at most
const DAMAGE = [RangeError, TypeError, SyntaxError]; // what a value that makes no sense causes

const refuse = (message, kind = "file") => {
  throw new LmhtError(message, kind);
};
const requireFile = (holds, what) => holds || refuse(`is damaged or of another layout: ${what}`);

export const isHdf5 = (bytes) => SIGNATURE.every((byte, i) => bytes[i] === byte);
export const isFlat = (bytes) => utf8(SCHEMA.flat.magic).every((byte, i) => bytes[i] === byte);

// ------------------------------------------------------------------------------------------ HDF5

// A file as groups {attributes, members}, both maps by name, and arrays {type, shape, bytes}.
class Hdf5 {
  constructor(bytes) {
    this.bytes = bytes;
    this.left = bytes.length; // bytes that no block has taken: each is read once
    this.heaps = new Map();
  }

  root() {
    const head = this.block(0, 96);
    requireFile(head.getUint8(8) === 0 && head.getUint8(13) === 8 && head.getUint8(14) === 8, "the superblock");
    requireFile(head.getBigUint64(24, true) === 0n, "the superblock");
    return this.object(this.address(head, 64), 0);
  }

  block(at, size) {
    this.left -= size;
    requireFile(at + size <= this.bytes.length && this.left >= 0, "a block lies outside of it, or two overlap");
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + at, size);
  }

  address(view, at) {
    const address = view.getBigUint64(at, true);
    requireFile(address <= this.bytes.length, "an address or a size");
    return Number(address);
  }

  object(address, depth) {
    requireFile(depth < DEPTH, "the depth of its groups");
    const attributes = new Map();
    const found = new Map();
    for (const [kind, data] of this.messages(address)) {
      if (kind === MESSAGES.ATTRIBUTE) {
        const [name, value] = this.attribute(data);
        requireFile(!attributes.has(name), "a name");
        attributes.set(name, value);
      } else if (!NO_MEANING.includes(kind)) {
        requireFile(Object.values(MESSAGES).includes(kind) && !found.has(kind), "an object header");
        found.set(kind, data);
      }
    }
    if (!found.has(MESSAGES.SYMBOL_TABLE)) return this.array(found);
    return { attributes, members: this.members(found.get(MESSAGES.SYMBOL_TABLE), depth) };
  }

  *messages(address) {
    const head = this.block(address, 16);
    requireFile(head.getUint8(0) === 1, "an object header");
    const blocks = [[address + 16, head.getUint32(8, true)]];
    for (const [start, size] of blocks) {
      const block = this.block(start, size);
      for (let at = 0; at < size;) {
        const [kind, length] = [block.getUint16(at, true), block.getUint16(at + 2, true)];
        const data = part(block, at + 8, length);
        at += 8 + length;
        if (kind === MESSAGES.CONTINUATION) blocks.push([this.address(data, 0), this.address(data, 8)]);
        else yield [kind, data];
      }
    }
  }

  // ------------------------------------------------------------------------------------- groups

  members(message, depth) {
    const names = this.names(this.address(message, 8));
    const found = new Map();
    for (const node of this.nodes(this.address(message, 0), 256)) {
      requireFile(textOf(this.block(node, 4)) === "SNOD", "the members of a group");
      const count = this.block(node + 4, 4).getUint16(2, true);
      for (let i = 0; i < count; i++) {
        const entry = this.block(node + 8 + 40 * i, 40);
        requireFile(entry.getUint32(16, true) <= 1, "it holds a link");
        const name = terminated(names, this.address(entry, 0));
        requireFile(!found.has(name), "a name");
        found.set(name, this.object(this.address(entry, 8), depth + 1));
      }
    }
    return found;
  }

  // The lowest children of a B-tree, whose nodes are below a level.
  *nodes(address, above) {
    const head = this.block(address, 24);
    const level = head.getUint8(5);
    requireFile(textOf(part(head, 0, 4)) === "TREE" && head.getUint8(4) === 0 && level < above, "a B-tree");
    const count = head.getUint16(6, true);
    const entries = this.block(address + 24, 16 * count);
    for (let i = 0; i < count; i++) {
      const child = this.address(entries, 16 * i + 8);
      if (level === 0) yield child;
      else yield* this.nodes(child, level);
    }
  }

  names(address) {
    const head = this.block(address, 32);
    requireFile(textOf(part(head, 0, 4)) === "HEAP", "the names of a group");
    return this.block(this.address(head, 24), this.address(head, 8));
  }

  // ------------------------------------------------------------------------------------- values

  attribute(data) {
    requireFile(data.getUint8(0) === 1, "an attribute");
    const parts = [];
    let at = 8;
    for (const size of [2, 4, 6].map((place) => data.getUint16(place, true))) {
      parts.push(part(data, at, size));
      at += Math.ceil(size / 8) * 8;
    }
    const [name, type, space] = [terminated(parts[0], 0), typeOf(parts[1]), shapeOf(parts[2])];
    const read = (i) => this.value(type, data, at + i * type.size);
    if (space.length === 0) return [name, read(0)];
    requireFile(space.length === 1 && space[0] <= data.byteLength, "an attribute");
    return [name, Array.from({ length: space[0] }, (_, i) => read(i))];
  }

  value(type, data, at) {
    if (type.name === "text") return this.text(data, at);
    if (type.name === "int64") return data.getBigInt64(at, true);
    requireFile(type.name === "float64", "the type of an attribute");
    return data.getFloat64(at, true);
  }

  // A text in a global heap.
  text(data, at) {
    const length = data.getUint32(at, true);
    const object = this.heap(this.address(data, at + 4)).get(data.getUint32(at + 12, true));
    requireFile(object && length <= object.byteLength, "a text");
    return textOf(part(object, 0, length));
  }

  heap(address) {
    if (this.heaps.has(address)) return this.heaps.get(address);
    const head = this.block(address, 16);
    requireFile(textOf(part(head, 0, 4)) === "GCOL", "a heap");
    const block = this.block(address + 16, this.address(head, 8) - 16);
    const found = new Map();
    for (let at = 0; at + 16 <= block.byteLength && block.getUint16(at, true) !== 0;) {
      const size = this.address(block, at + 8);
      found.set(block.getUint16(at, true), part(block, at + 16, size));
      at += 16 + Math.ceil(size / 8) * 8;
    }
    this.heaps.set(address, found);
    return found;
  }

  array(messages) {
    const [space, type, layout] = [MESSAGES.DATASPACE, MESSAGES.DATATYPE, MESSAGES.LAYOUT].map((kind) => messages.get(kind));
    requireFile(space && type && layout, "a data set");
    requireFile(layout.getUint8(0) === 3 && layout.getUint8(1) === CONTIGUOUS, "a data set is not in one piece");
    const [shape, { name, size }] = [shapeOf(space), typeOf(type)];
    const count = shape.reduce((product, side) => product * side, size);
    requireFile(name !== "text" && count === this.address(layout, 10), "the size of a data set");
    const { buffer, byteOffset } = this.block(this.address(layout, 2), count);
    return { type: name, shape, bytes: new Uint8Array(buffer, byteOffset, count) };
  }
}

const part = (view, at, size) => new DataView(view.buffer, view.byteOffset + at, within(view, at, size));
const within = (view, at, size) => (requireFile(at + size <= view.byteLength, "a block is too short"), size);
const textOf = (view) =>
  new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(view);

function terminated(view, start) {
  let end = start;
  while (view.getUint8(end) !== 0) end++;
  return textOf(part(view, start, end - start));
}

function shapeOf(space) {
  const rank = space.getUint8(1);
  requireFile(space.getUint8(0) === 1 && rank <= 4, "a shape");
  return Array.from({ length: rank }, (_, i) => Number(space.getBigUint64(8 + 8 * i, true)));
}

// Little-endian signed integers, IEEE doubles, and UTF-8 texts of any length.
function typeOf(data) {
  const [kind, bits, size] = [data.getUint8(0), data.getUint8(1), data.getUint32(4, true)];
  if (kind === 0x10 && bits === 0x08 && [1, 4, 8].includes(size)) return { name: `int${8 * size}`, size };
  if (kind === 0x11 && (bits & 1) === 0 && size === 8) return { name: "float64", size };
  requireFile(kind === 0x19 && (bits & 15) === 1 && size === 16, "a type of values");
  return { name: "text", size };
}

// --------------------------------------------------------------------------------------- checksum

// The SHA-256 of the content, as the reference of the file formats defines it.
function checksumOf(root) {
  const parts = [];
  const update = (text, data) => {
    parts.push(utf8(`${[...text].length}:${text}${data.length}:`), data);
  };
  const visit = (group, path) => {
    for (const name of [...group.attributes.keys()].sort()) {
      if (path !== "" || name !== "checksum") update(`${path || "/"}@${name}`, utf8(repr(group.attributes.get(name))));
    }
    for (const name of [...group.members.keys()].sort()) {
      const [member, place] = [group.members.get(name), `${path}/${name}`];
      if (member.members) {
        update(place, utf8("group"));
        visit(member, place);
      } else {
        update(`${place}:${DTYPES[member.type]}(${member.shape.join(", ")}${member.shape.length === 1 ? "," : ""})`, member.bytes);
      }
    }
  };
  visit(root, "");
  return sha256(parts);
}

const DTYPES = { int8: "|i1", int32: "<i4", int64: "<i8", float64: "<f8" };
const utf8 = (text) => new TextEncoder().encode(text);
const NOT_PRINTABLE = /(?! )[\p{C}\p{Z}]/gu;

// `repr` of Python.
function repr(value) {
  if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
  if (typeof value === "bigint") return String(value);
  return typeof value === "number" ? reprNumber(value) : reprText(value);
}

function reprNumber(value) {
  const [digits, exponent] = value.toExponential().split("e").map((text, i) => (i ? Number(text) : text));
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const plain = Object.is(value, -0) ? "-0" : String(value);
  const fixed = plain.includes("e") ? value.toFixed(6 - exponent).replace(/0+$/, "") : plain;
  return /[.a-z]/i.test(fixed) ? fixed : `${fixed}.0`;
}

function reprText(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/\\/g, "\\\\").replaceAll(quote, `\\${quote}`)
    .replace(/\n/g, "\\n").replace(/\r/g, "\\r").replace(/\t/g, "\\t");
  return quote + escaped.replace(NOT_PRINTABLE, escapeOf) + quote;
}

function escapeOf(character) {
  const code = character.codePointAt(0);
  const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
}

// Not by the page's cryptography, which is not available in pages without HTTPS.
function sha256(parts) {
  const length = parts.reduce((sum, { length: size }) => sum + size, 0);
  const padded = new Uint8Array(Math.ceil((length + 9) / 64) * 64);
  let at = 0;
  for (const bytes of parts) {
    padded.set(bytes, at);
    at += bytes.length;
  }
  padded[length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(8 * length));
  const primes = Array.from({ length: 312 }, (_, i) => i).filter((n) => n > 1 && !hasFactor(n));
  const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
  const rounds = primes.slice(0, 64).map((prime) => fraction(Math.cbrt(prime)));
  const hash = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  for (let block = 0; block < padded.length; block += 64) addBlock(hash, rounds, view, block);
  return hash.map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

const hasFactor = (n) => {
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return true;
  return false;
};
const turned = (x, n) => (x >>> n) | (x << (32 - n));

const SCHEDULE = new Int32Array(64);
function addBlock(hash, rounds, view, block) {
  for (let i = 0; i < 64; i++) {
    if (i < 16) {
      SCHEDULE[i] = view.getInt32(block + 4 * i);
      continue;
    }
    const [x, y] = [SCHEDULE[i - 15], SCHEDULE[i - 2]];
    SCHEDULE[i] = SCHEDULE[i - 16] + SCHEDULE[i - 7] + (turned(x, 7) ^ turned(x, 18) ^ (x >>> 3)) +
      (turned(y, 17) ^ turned(y, 19) ^ (y >>> 10));
  }
  let [a, b, c, d, e, f, g, h] = hash;
  for (let i = 0; i < 64; i++) {
    const t = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + rounds[i] + SCHEDULE[i];
    const u = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    [a, b, c, d, e, f, g, h] = [(t + u) | 0, a, b, c, (d + t) | 0, e, f, g];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => { hash[i] = (hash[i] + word) | 0; });
}

// -------------------------------------------------------------------------------------- flat file

// The bytes of the `.lmhtf` file of the network in a `.lmht` file.
export function flatFromHdf5(bytes) {
  try {
    return flatFrom(new Hdf5(bytes).root());
  } catch (error) {
    if (error instanceof LmhtError) throw error;
    if (DAMAGE.some((kind) => error instanceof kind)) refuse("is not a .lmht file, or is damaged");
    throw error;
  }
}

function flatFrom(root) {
  const file = root.attributes;
  if (file.get("format") !== SCHEMA.format) refuse("is not a .lmht file");
  const version = Number(file.get("version"));
  if (!(version >= 1 && version <= SCHEMA.version)) {
    refuse(`has format version ${version}; this page reads version ${SCHEMA.version}`, "unsupported");
  }
  if (file.get("checksum") !== checksumOf(root)) {
    refuse("the checksum does not match the content; the file is damaged or was edited");
  }
  checkNames("the file", [...file.keys(), ...root.members.keys()], [...SCHEMA.root, "layers"]);
  const layers = recordsOf(root.members.get("layers"), SCHEMA.layers, version);
  const writer = new FlatWriter(layers);
  writer.network(file.get("metadata"));
  return writer.content();
}

function checkNames(what, found, wanted, optional = []) {
  const missing = wanted.find((name) => !found.includes(name) && !optional.includes(name));
  const other = found.find((name) => !wanted.includes(name));
  if (missing ?? other) refuse(`${what} ${missing ? `lacks ${missing}` : `holds the unknown ${other}`}`);
}

// The records `0`, `1`, ... of a group: {number, fields, values}.
function recordsOf(group, types, version) {
  return Array.from({ length: group.members.size }, (_, i) => {
    const { attributes, members } = group.members.get(String(i)) ?? refuse(`there is no record ${i}`);
    const number = types.findIndex(({ type }) => type === attributes.get("type"));
    if (number < 0) refuse(`a record is of the unknown type ${attributes.get("type")}`);
    const { type, fields } = types[number];
    const known = fields.filter(({ since }) => since <= version);
    const optional = known.filter(({ kind }) => kind === "optional").map(({ name }) => name);
    checkNames(type, [...attributes.keys(), ...members.keys()], ["type", ...known.map(({ name }) => name)], optional);
    const valueOf = (name) => (name === "synapses" ? recordsOf(members.get(name), SCHEMA.synapses, version)
      : members.get(name) ?? attributes.get(name));
    return { number, fields, values: new Map(known.map(({ name }) => [name, valueOf(name)])) };
  });
}

// As `_Writer` of lmht_deploy.formats.flat: the words of the records, then texts and arrays.
class FlatWriter {
  constructor(layers) {
    this.layers = layers;
    this.words = []; // BigInt, Number (a double), or the bytes of a text or an array
  }

  network(metadata) {
    const texts = JSON.parse(metadata);
    const { values } = this.layers.at(-1);
    if (values.get("bias").type === "float64") refuse("is a float network; quantize it", "unsupported");
    this.text(metadata);
    this.window(texts.window, this.layers[0].values.get("steps"));
    const margin = Number(texts.min_margin ?? "0");
    this.words.push(margin);
    const names = classNames(texts.classes, values.get("bias").shape[0]);
    this.words.push(BigInt(names.length));
    for (const name of names) this.text(name.replace(NOT_PRINTABLE, "\ufffd"));
    this.records(this.layers);
  }

  window(text, steps) {
    const rule = text === undefined ? { by: "none", length: 0, hop: 0 } : JSON.parse(text);
    const by = SCHEMA.choices.window.indexOf(rule.by);
    const whole = [rule.length, rule.hop].every(Number.isSafeInteger);
    if (by < 0 || !whole || (text !== undefined && BigInt(rule.steps) !== steps)) refuse("its window rule is not valid");
    this.words.push(BigInt(by), BigInt(rule.length), BigInt(rule.hop));
  }

  records(records) {
    this.words.push(BigInt(records.length));
    for (const { number, fields, values } of records) {
      this.words.push(BigInt(number));
      for (const field of fields) this.field(field, values.get(field.name) ?? field.missing);
    }
  }

  field({ name, kind, dtype, rank }, value) {
    if (kind === "text") this.text(value);
    else if (kind === "records") this.records(value);
    else if (kind === "layer") this.words.push(BigInt(this.layers.findIndex(({ values }) => values.get("name") === value)));
    else if (kind === "choice") this.words.push(BigInt(SCHEMA.choices[name].indexOf(value)));
    else if (kind === "shape") this.words.push(...(value.length === 3 ? value : [value[0], 0n, 0n]));
    else if (kind === "pair") this.words.push(...value);
    else if (kind === "optional" && value === undefined) this.words.push(0n, 0n);
    else if (kind === "array" || kind === "optional") this.array(value, dtype, rank);
    else this.words.push(typeof value === (kind === "number" ? "number" : "bigint") ? value : refuse(`${name} has another type`));
  }

  text(text) {
    const encoded = utf8(typeof text === "string" ? text : refuse("a text is missing"));
    this.words.push(encoded, BigInt(encoded.length));
  }

  array({ type, shape, bytes }, dtype, rank) {
    if (type !== dtype || shape.length !== rank) refuse(`an array is of ${type} and ${shape.length} axes, not ${dtype} and ${rank}`);
    this.words.push(bytes, ...shape.map(BigInt));
  }

  content() {
    const { header, alignment } = SCHEMA.flat;
    const records = header + 8 * this.words.length;
    const places = [];
    let size = records;
    for (const word of this.words) {
      if (!(word instanceof Uint8Array)) continue;
      size = Math.ceil(size / alignment) * alignment;
      places.push(size);
      size += word.length;
    }
    const found = new Uint8Array(size);
    const view = new DataView(found.buffer);
    this.words.forEach((word, i) => {
      const at = header + 8 * i;
      if (typeof word === "number") view.setFloat64(at, word, true);
      else view.setBigInt64(at, typeof word === "bigint" ? word : place(found, word, places), true);
    });
    return sealed(found, view, this.words.length);
  }
}

function place(found, bytes, places) {
  const at = places.shift();
  found.set(bytes, at);
  return BigInt(at);
}

function sealed(found, view, words) {
  found.set(utf8(SCHEMA.flat.magic));
  view.setUint32(8, SCHEMA.flat.version, true);
  view.setBigUint64(16, BigInt(found.length), true);
  view.setBigUint64(24, BigInt(words), true);
  view.setUint32(12, crc32(found.subarray(SCHEMA.flat.checked)), true);
  return found;
}

function crc32(bytes) {
  const table = Int32Array.from({ length: 256 }, (_, i) => {
    for (let bit = 0; bit < 8; bit++) i = (i >>> 1) ^ (i & 1 ? 0xedb88320 : 0);
    return i;
  });
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ table[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

function classNames(text, classes) {
  let names;
  try {
    names = JSON.parse(text);
  } catch {
    return [];
  }
  const valid = Array.isArray(names) && names.every((name) => typeof name === "string" && name);
  return valid && names.length === classes ? names : [];
}
