// Runs LM-HT networks with the integers of lmht-deploy. Symbols (T_in, k, SOP) are those of its
// documentation. Every error is an LmhtError. A wrong argument has the kind "argument".

/** What went wrong. */
export type ErrorKind = "argument" | "file" | "unsupported" | "io" | "event" | "memory" | "internal";

export class LmhtError extends Error {
  readonly kind: ErrorKind;
}

/** How a recording is cut into windows. */
export interface WindowRule {
  by: "none" | "recording" | "time" | "events";
  /** Microseconds by time, events by events: a multiple of the time-steps; 0 by recording. */
  length: number;
  /** Time-steps between the starts of two windows; 0 for all of them. */
  hop: number;
}

export interface Input {
  channels: number;
  height: number;
  width: number;
  /** T_in, time-steps of a window. */
  steps: number;
  minCount: number;
  maxCount: number;
  kind: "events" | "image";
}

export interface Layer {
  name: string;
  type: "input" | "neurons" | "sum pool" | "max pool" | "flatten" | "readout";
  channels: number;
  height: number;
  width: number;
  /** Of its output, sub-steps included. */
  steps: number;
  /** L, largest k per time-step; 0 for a layer without neurons. */
  levels: number;
  /** Column of `spikes` and `events`; -1 without neurons. */
  spikes: number;
  /** Column of `sops` and `eventSops`; -1 without synapses. */
  sops: number;
  /** Multiply-accumulates per window; 0 if it reads no pixels. */
  macs: number;
}

/** The integers of a run of B windows. */
export interface Result {
  /** [B][classes] */
  logits: number[][];
  /** Sum of k, [B][layers of neurons]. */
  spikes: number[][];
  /** Graded spikes, where k > 0 counts once: [B][layers of neurons]. */
  events: number[][];
  /** Synaptic operations, [B][layers with synapses]. */
  sops: number[][];
  eventSops: number[][];
  /** Class of the largest logit, the lowest of equal ones. */
  answers: number[];
  /** k of each layer of neurons, [B][steps][C][H][W]; null without `trace`. */
  traces: Int32Array[] | null;
  /** Time that the engine took. */
  seconds: number;
}

/** A trained network. */
export class Network {
  private constructor();
  /** Reads the content of a `.lmht` file of an integer network, or of a `.lmhtf` file. */
  static read(content: ArrayBuffer | ArrayBufferView): Promise<Network>;
  readonly input: Input;
  readonly layers: Layer[];
  readonly classes: string[];
  /** Real value of one unit of a logit. */
  readonly scale: number;
  /** Smallest margin of an answer that is a class. */
  readonly minMargin: number;
  readonly window: WindowRule;
  readonly weightBytes: number;
  readonly metadata: Record<string, string>;
  /** Integers of a window: T_in x C x H x W. */
  readonly windowLength: number;
  /** Runs windows, [B][T_in][C][H][W]. */
  run(windows: Int32Array | ArrayLike<number>, options?: { trace?: boolean }): Result;
  /** Begins a stream of events. */
  stream(options?: StreamOptions): Stream;
}

/**
 * A network in several workers, which run the windows of a batch side by side. Each worker has an
 * engine of its own. They share no memory, so the page needs no special headers.
 */
export class Pool {
  private constructor();
  /**
   * Reads the content of a network, as `Network.read`, and starts the workers. Default: as many as the
   * machine runs at once.
   */
  static read(content: ArrayBuffer | ArrayBufferView, options?: { workers?: number }): Promise<Pool>;
  /** The network. Its own engine is not one of the workers. */
  readonly network: Network;
  /** Number of workers. */
  readonly workers: number;
  /** Runs windows as `Network.run` does. `seconds` is the time of all engines, added up. */
  run(windows: Int32Array | ArrayLike<number>, options?: { trace?: boolean }): Promise<Result>;
  /** Ends the workers. What still runs, or is asked for later, is an error. */
  close(): void;
}

export interface StreamOptions {
  /** Size of the sensor. Default: that of the network's input. */
  width?: number;
  height?: number;
  /** Default: as the network was trained. */
  window?: Partial<WindowRule>;
  /** Drop and count events that are not valid, instead of an error. */
  drop?: boolean;
  /** Number of windows whose logits are averaged for an answer. Default: 1. */
  smooth?: number;
  /** Answer -1 below this margin. Default: that of the network. */
  minMargin?: number;
  /** Microseconds without an event after which empty windows are skipped. Default: 10 s. */
  maxGap?: number;
  /** Keep the spikes of every layer. */
  trace?: boolean;
}

/** The answer for one window. */
export interface Decision {
  window: number;
  /** Microseconds from the first event. */
  start: number;
  /** End of the window in microseconds of the source. */
  time: number;
  /** Class of the largest logit; -1 if the margin is too small. */
  label: number;
  /** Difference of the two largest logits, real value. */
  margin: number;
  logits: number[];
  /** Whether the stream ended before the window did. */
  incomplete: boolean;
  events: number;
  /** Events above the input range of the network. */
  lost: number;
  spikes: number;
  sops: number;
  /** Time-steps that were run: all of the window. */
  steps: number;
  seconds: number;
  byLayer: { spikes: number[]; events: number[]; sops: number[]; eventSops: number[] };
  traces: Int32Array[] | null;
}

/** Cuts events into windows and classifies each, as `lmht stream` does. */
export class Stream {
  private constructor();
  readonly network: Network;
  /** Adds events, in order of time. Windows run as the decisions are taken. */
  push(events: Events): IterableIterator<Decision>;
  /** Ends the windows by time that end at time `t` (us) or before, without a later event. */
  elapse(t: number): IterableIterator<Decision>;
  /** Ends the stream: the last window is completed by empty time-steps. */
  finish(): IterableIterator<Decision>;
  /** The decisions that are due. */
  decisions(): IterableIterator<Decision>;
  /** The next decision that is due; null if there is none. */
  next(): Decision | null;
  /** Events that were not counted, and empty windows that were skipped. */
  readonly losses: { outside: number; polarity: number; order: number; late: number; skipped: number };
}

/** Events with t in microseconds, x and y from the top left, and p: 0 OFF, 1 ON. An index is 0..length - 1. */
export class Events {
  /** 16 bytes per event, as `lmht_event` of lmht.h. */
  constructor(bytes: Uint8Array);
  static from(columns: {
    t: ArrayLike<number>; x: ArrayLike<number>; y: ArrayLike<number>; p: ArrayLike<number>;
  }): Events;
  readonly bytes: Uint8Array;
  readonly length: number;
  t(index: number): number;
  x(index: number): number;
  y(index: number): number;
  p(index: number): number;
  /** The events from `start` to before `end`; they share the memory. */
  slice(start: number, end?: number): Events;
  /** Index of the first event at time `t` or later. The times must rise. */
  search(t: number): number;
}

/** A file of events. */
export class Recording implements Iterable<Events> {
  private constructor();
  /**
   * Opens the content of a file, whose name ends in .aedat4, .aedat, .raw, .dat, .es or .bin.
   * `width` and `height` of the sensor: for a file that does not state them. They must not be
   * smaller than those that the file states. `track`: for a file
   * with several tracks of events.
   */
  static open(content: ArrayBuffer | ArrayBufferView, name: string, options?: {
    width?: number; height?: number; track?: string | null;
  }): Promise<Recording>;
  readonly width: number;
  readonly height: number;
  /** The next events, as the file has them; null at its end. */
  next(): Events | null;
  [Symbol.iterator](): Iterator<Events>;
}
