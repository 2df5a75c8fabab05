// @ts-check
// What is known of an answer while it is being written and afterwards. Pure: no document.

/**
 * @typedef {Object} RunRequest
 * @property {string} method
 * @property {number | null} threshold of RSD; null where the method has none.
 * @property {number} seed
 * @property {number | null} temperature null: the server's.
 * @property {number | null} max_tokens null: the server's.
 */

/** @typedef {{text: string, reward: number | null, weight?: number | null, finish_reason?: string}} RejectedDraft */

/**
 * @typedef {Object} FlopCount
 * @property {number | null} [total]
 * @property {number | null} [target_alone] what the target would have needed for as long a text.
 * @property {number | null} [saved] share of `target_alone`.
 */

/** @typedef {FlopCount & {paper?: FlopCount | null}} Flops an exact count, and the paper's: 2 for each parameter and token. */

/**
 * @typedef {Object} Step a decided one.
 * @property {number} index
 * @property {"draft" | "target"} source
 * @property {string} text
 * @property {number | null} reward of the draft that was decided on.
 * @property {number | null} weight
 * @property {number} tokens
 * @property {number} [seconds]
 * @property {RejectedDraft[]} rejected
 * @property {Flops | null} [flops] so far
 */

/**
 * @typedef {Object} Finished
 * @property {string | null} answer
 * @property {string} finish_reason
 * @property {number} steps
 * @property {number | null} acceptance
 * @property {number | null} seconds
 * @property {{draft?: number, target?: number, reward?: number} | null} tokens
 * @property {Flops | null} flops
 * @property {string | null} [note]
 */

/** Whether a text ended at a limit of its length. @param {string | undefined} reason */
export const isCut = (reason) => ["step_limit", "length"].includes(reason ?? "");

/**
 * @typedef {Object} Writing provisional text of a step.
 * @property {"draft" | "target"} role
 * @property {number} step
 * @property {number} candidate
 * @property {string} text
 * @property {boolean} written whether it is complete.
 * @property {boolean} cut whether it ended at a limit: a draft that is cut is rejected unscored.
 * @property {number | null} reward
 */

/** @typedef {"waiting" | "running" | "done" | "stopped" | "failed"} RunState */

export class Run {
  /** @type {Step[]} */
  steps = [];
  /** Provisional texts, by step, role and candidate. @type {Map<string, Writing>} */
  writings = new Map();
  /** @type {Finished | null} */
  finished = null;
  /** The text that is sure to stay; what a method without steps has written. */
  text = "";
  /** @type {RunState} */
  state = "waiting";

  /** @param {RunRequest} request */
  constructor(request) {
    this.request = request;
  }

  /**
   * Takes in an event of the stream; unknown ones change nothing.
   *
   * @param {any} event
   */
  apply(event) {
    if (event.choice) return;
    this.state = "running";
    if (event.event === "delta") this.#writing(event.role, event).text += event.text;
    else if (event.event === "proposed") Object.assign(this.#writing("draft", event), { text: event.text, written: true, cut: isCut(event.finish_reason) });
    else if (event.event === "scored") this.#writing("draft", event).reward = event.rewards?.at(-1) ?? null;
    else if (event.event === "decided") this.#decide(event);
    else if (event.event === "content") this.text += event.text;
    else if (event.event === "finished") {
      this.finished = event;
      this.state = "done";
      this.writings.clear();
    }
  }

  /** Ends it before its time. @param {"stopped" | "failed"} state */
  end(state) {
    this.state = state;
    this.writings.clear();
  }

  /** Forgets everything, for another try. */
  restart() {
    Object.assign(this, { steps: [], writings: new Map(), finished: null, text: "", state: "waiting" });
  }

  /** @param {any} event */
  #decide({ index, source, text, reward, weight, tokens, seconds, rejected, flops }) {
    this.steps.push({ index, source, text, reward, weight, tokens, seconds, rejected: rejected ?? [], flops });
    for (const [key, writing] of this.writings) {
      // A step that was drafted ahead of a rejected one goes with it.
      if (writing.step <= index || source === "target") this.writings.delete(key);
    }
  }

  /**
   * @param {"draft" | "target"} role
   * @param {{step: number, candidate: number}} where
   * @returns {Writing}
   */
  #writing(role, { step, candidate }) {
    const key = `${step} ${role} ${candidate}`;
    const known = this.writings.get(key);
    if (known) return known;
    /** @type {Writing} */
    const writing = { role, step, candidate, text: "", written: false, cut: false, reward: null };
    this.writings.set(key, writing);
    return writing;
  }
}
