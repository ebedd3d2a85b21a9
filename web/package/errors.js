// What the package throws.
export class LmhtError extends Error {
  constructor(message, kind = "argument") {
    super(message);
    this.name = "LmhtError";
    this.kind = kind;
  }
}
