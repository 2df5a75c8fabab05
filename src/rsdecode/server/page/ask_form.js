// @ts-check
import { byId, el } from "./element.js";
import * as format from "./format.js";
import { methodName } from "./words.js";

/** @typedef {import("./server.js").Info} Info */
/** @typedef {import("./run.js").RunRequest} RunRequest */

const EXAMPLES = 4;

/**
 * @typedef {Object} Handlers
 * @property {(question: string, requests: RunRequest[]) => void} onAsk
 * @property {() => void} onStop
 * @property {(threshold: number) => void} onThreshold while the slider moves.
 * @property {() => void} onQuestion when its text changes.
 */

/** Where a question is asked: its text, the method, the threshold, what else can be set. */
export class AskForm {
  /** @type {Info | null} */
  #info = null;
  #form = byId("ask");
  #question = byId("question");
  #method = byId("method");
  #threshold = byId("threshold");
  #solve = byId("solve");
  #compare = byId("compare");
  #stop = byId("stop");

  /** @param {Handlers} handlers */
  constructor({ onAsk, onStop, onThreshold, onQuestion }) {
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#ask(onAsk, [this.#method.value]);
    });
    this.#compare.addEventListener("click", () => this.#ask(onAsk, ["draft", "rsd", "target"]));
    this.#stop.addEventListener("click", onStop);
    this.#question.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.busy) this.#form.requestSubmit();
    });
    this.#question.addEventListener("input", () => {
      this.#question.setCustomValidity("");
      onQuestion();
    });
    this.#threshold.addEventListener("input", () => {
      this.#showThreshold();
      onThreshold(this.threshold);
    });
    this.#method.addEventListener("change", () => this.#showThreshold());
    this.#showThreshold();
  }

  /** Whether a question is being solved. */
  get busy() {
    return this.#stop.hidden === false;
  }

  /** Shows stop instead of solve; keeps the focus where a keyboard left it. @param {boolean} busy */
  set busy(busy) {
    const focused = document.activeElement;
    const held = focused === this.#solve || focused === this.#compare || focused === this.#stop;
    this.#stop.hidden = !busy;
    this.#solve.hidden = busy;
    this.#compare.hidden = busy || !this.#canCompare;
    if (held) (busy ? this.#stop : this.#solve).focus({ preventScroll: true });
  }

  get threshold() {
    return Number(this.#threshold.value);
  }

  get question() {
    return this.#question.value;
  }

  set question(text) {
    this.#question.value = text;
  }

  /** Fits the form to what the server can do. @param {Info} info */
  show(info) {
    this.#info = info;
    this.#method.replaceChildren(...info.methods.map((method) => new Option(methodName(method), method)));
    this.#method.value = info.methods.includes(info.method) ? info.method : info.methods[0];
    if (info.threshold !== null) this.#threshold.value = String(info.threshold);
    byId("max-tokens").placeholder = String(info.max_tokens ?? "");
    this.#compare.hidden = !this.#canCompare;
    byId("language").hidden = !info.note;
    byId("language").textContent = info.note ?? "";
    this.#showExamples(info.examples ?? []);
    this.#showThreshold();
    this.#solve.disabled = false;
  }

  get #canCompare() {
    return ["draft", "rsd", "target"].every((method) => this.#info?.methods.includes(method));
  }

  /** @param {string[]} examples */
  #showExamples(examples) {
    const shown = examples.slice(0, EXAMPLES);
    // The middle one: neither the easiest nor the hardest.
    if (!this.question && shown.length) this.question = shown[Math.floor(shown.length / 2)];
    byId("examples").hidden = shown.length < 2;
    byId("examples-list").replaceChildren(
      ...shown.map((text) => {
        const onclick = () => {
          this.question = text;
          this.#question.dispatchEvent(new Event("input"));
          this.#question.focus();
        };
        return el("li", {}, el("button", { type: "button", className: "example", title: text, onclick }, text));
      }),
    );
  }

  #showThreshold() {
    const byThreshold = this.#info?.threshold !== null;
    const used = this.#method.value === "rsd" && byThreshold;
    this.#threshold.style.setProperty("--value", this.#threshold.value);
    byId("threshold-value").textContent = format.threshold(this.threshold);
    this.#threshold.disabled = !byThreshold;
    byId("threshold-note").textContent = !byThreshold
      ? `The weighting function (${this.#info?.weighting}) has no threshold.`
      : used
        ? "A draft with a lower reward is written again by the target."
        : "Used by RSD, also in a comparison.";
  }

  /**
   * @param {Handlers["onAsk"]} onAsk
   * @param {string[]} methods
   */
  #ask(onAsk, methods) {
    const question = this.question.trim();
    if (this.busy || !this.#info) return;
    this.#question.setCustomValidity(question ? "" : "Type a question first.");
    // A browser cannot point at a field that is folded away.
    if (byId("more").querySelector(":invalid")) byId("more").open = true;
    if (!this.#form.reportValidity()) return;
    onAsk(question, methods.map((method) => this.#request(method)));
  }

  /** @param {string} method @returns {RunRequest} */
  #request(method) {
    const number = (/** @type {string} */ id) => (byId(id).value === "" ? null : Number(byId(id).value));
    return {
      method,
      threshold: method.startsWith("rsd") && this.#info?.threshold !== null ? this.threshold : null,
      seed: number("seed") ?? 0,
      temperature: number("temperature"),
      max_tokens: number("max-tokens"),
    };
  }
}
