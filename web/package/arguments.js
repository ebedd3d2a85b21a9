// Checks of the arguments of a caller. Every wrong argument is an LmhtError.
import { LmhtError } from "./errors.js";

export const demand = (holds, message) => {
  if (!holds) throw new LmhtError(message);
};

export const isInt32 = (value) => Number.isInteger(value) && Math.abs(value) < 2 ** 31;

// Whether it is an array, a typed array, or an object like one.
export const isList = (value) =>
  typeof value === "object" && value !== null && Number.isSafeInteger(value.length) && value.length >= 0;

// Whether all values are booleans.
export const areSwitches = (...values) => values.every((value) => typeof value === "boolean");

// A value in a message: not every value becomes a text, and some become a long one.
export const shown = (value) => {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  if (typeof value === "function") return "a function";
  return typeof value === "object" && value !== null ? "an object" : String(value);
};

// The options that are given: an object with some of these names.
export function optionsOf(given, names) {
  demand(typeof given === "object" && given !== null, `options are an object, not ${shown(given)}`);
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  demand(unknown === undefined, `there is no option ${shown(unknown)}; there are ${names.join(", ")}`);
  return given;
}

// The bytes of an ArrayBuffer, or of a view of one.
export function asBytes(content) {
  const whole = content instanceof ArrayBuffer;
  demand(whole || ArrayBuffer.isView(content), "the content of a file is an ArrayBuffer or a Uint8Array");
  try {
    return whole ? new Uint8Array(content) : new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  } catch {
    throw new LmhtError("the content of the file is gone: its ArrayBuffer was transferred");
  }
}

// Copies values to 32-bit integers; whether they are that.
export function fill(target, values) {
  if (values.length === 0) return true;
  try {
    target.set(values);
  } catch {
    return false; // not numbers
  }
  return values instanceof Int32Array || target.every((value, i) => value === values[i]);
}
