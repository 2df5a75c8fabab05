// @ts-check
import { eventData } from "./sse.js";

/**
 * @typedef {Object} Info what the server says of itself
 * @property {string} version
 * @property {Record<string, string | null>} models spec by role
 * @property {Record<string, string>} [names] short names by role
 * @property {string[]} methods
 * @property {string} method the default
 * @property {number | null} threshold
 * @property {string} weighting
 * @property {number} max_tokens
 * @property {boolean} storage
 * @property {boolean} auth
 * @property {string | null} [note]
 * @property {string[]} [examples]
 */

/** @typedef {"unreachable" | "lost" | "busy" | "key" | "missing" | "refused" | "failed"} FaultKind */

/** Why the server did not do what it was asked for, in words for people. */
export class Fault extends Error {
  /**
   * @param {FaultKind} kind
   * @param {string} message
   * @param {number | null} waitSeconds how long to wait before another try, where the server says so.
   */
  constructor(kind, message, waitSeconds = null) {
    super(message);
    this.name = "Fault";
    this.kind = kind;
    this.waitSeconds = waitSeconds;
  }
}

const DEFAULT_WAIT_S = 5;
const LONGEST_WAIT_S = 120;

/** The server that this page came from. All addresses are relative, so that it may be behind a prefix. */
export class Server {
  /** Kept in memory only. @type {string | null} */
  key = null;

  /** @returns {Promise<Info>} */
  async info() {
    return (await this.#ask("rsd/info")).json();
  }

  /**
   * Asks for a streamed answer.
   *
   * @param {Object} body of `/v1/chat/completions`.
   * @param {AbortSignal} signal ends it.
   * @returns {AsyncGenerator<any, void>} `rsd` events, and {event: "content", text} for new text.
   */
  async *complete(body, signal) {
    const response = await this.#ask("v1/chat/completions", { method: "POST", body, signal });
    if (!response.body) throw new Fault("lost", "The server sent nothing.");
    try {
      for await (const data of eventData(response.body)) {
        if (data === "[DONE]") return;
        yield* eventsOf(parsed(data));
      }
    } catch (error) {
      if (signal.aborted || error instanceof Fault) throw error;
      if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
    }
    signal.throwIfAborted();
    throw new Fault("lost", "The connection to the server was lost before the answer was complete.");
  }

  /**
   * Stores a trajectory document.
   *
   * @param {Object} trajectory
   * @returns {Promise<string>} its id.
   */
  async store(trajectory) {
    const response = await this.#ask("rsd/trajectories", { method: "POST", body: trajectory });
    return (await response.json()).id;
  }

  /**
   * A stored trajectory document.
   *
   * @param {string} id
   * @returns {Promise<unknown>}
   */
  async load(id) {
    return (await this.#ask(`rsd/trajectories/${encodeURIComponent(id)}`)).json();
  }

  /**
   * @param {string} address
   * @param {{method?: string, body?: Object, signal?: AbortSignal}} [options]
   */
  async #ask(address, { method = "GET", body, signal } = {}) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (body) headers["Content-Type"] = "application/json";
    if (this.key) headers["Authorization"] = `Bearer ${this.key}`;
    let response;
    try {
      response = await fetch(address, { method, headers, signal, body: body && JSON.stringify(body) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Fault("unreachable", "The server cannot be reached. Is rsd serve still running?");
    }
    if (!response.ok) throw await faultOf(response);
    return response;
  }
}

/** @param {any} chunk */
function* eventsOf(chunk) {
  if (chunk.error) throw new Fault("failed", said(chunk.error) ?? "The server could not finish the answer.");
  const text = chunk.choices?.[0]?.delta?.content;
  if (text) yield { event: "content", text };
  if (chunk.rsd) yield chunk.rsd;
}

/** @param {string} data */
function parsed(data) {
  try {
    return JSON.parse(data) ?? {};
  } catch {
    throw new Fault("failed", "The server sent something that this page cannot read.");
  }
}

/**
 * What a response that is not 2xx means.
 *
 * @param {Response} response
 */
async function faultOf(response) {
  const { status } = response;
  const body = await response.json().catch(() => null);
  const message = said(body?.error) ?? said(body?.detail) ?? `The server answered ${status} ${response.statusText}`.trim();
  const wait = waitSeconds(response.headers.get("Retry-After"));
  if (status === 401 || status === 403) return new Fault("key", message);
  if (status === 404) return new Fault("missing", message);
  if (status === 429 || (status === 503 && wait !== null)) return new Fault("busy", message, wait ?? DEFAULT_WAIT_S);
  return new Fault(status < 500 ? "refused" : "failed", message);
}

/** @param {any} error the message in an error body. */
const said = (error) => {
  const message = typeof error === "string" ? error : error?.message;
  return typeof message === "string" && message ? message : null;
};

/** @param {string | null} header seconds or a date. */
function waitSeconds(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), LONGEST_WAIT_S) : null;
}
