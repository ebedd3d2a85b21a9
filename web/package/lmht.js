// LM-HT networks in a browser or in Node.js, with the integers of lmht-deploy. lmht.d.ts describes
// the interface.
export { LmhtError } from "./errors.js";
export { Events, Network, Recording, Stream } from "./engine.js";
export { Pool } from "./pool.js";
