// @ts-check
import { el } from "./element.js";
import * as format from "./format.js";
import { stepItem, writingItem } from "./step_view.js";
import { strip } from "./strip.js";
import { firstTurned, isHardThreshold, totals } from "./totals.js";
import { typeset, typesetAnswer } from "./typeset.js";
import { methodName, settings, whyNone } from "./words.js";

/** @typedef {import("./run.js").Run} Run */

const SAVED = "Against the target alone writing as long a text; negative where more was spent.";
const BY_PAPER = `${SAVED} By the paper’s rule: 2 FLOPs for each parameter and token. The exact count has prompts and attention too.`;

/** One run on the page: its answer, totals and steps, as they come. */
export class RunView {
  #started = 0;
  #clock = 0;
  #typeset = true;
  #stripLook = "";

  /** @param {Run} run */
  constructor(run) {
    this.run = run;
    this.title = el("h2", { tabIndex: -1 }, methodName(run.request.method));
    this.settings = el("p", { className: "settings" }, settings(run));
    this.answer = el("p", { className: "answer" });
    this.totals = el("dl", { className: "totals" });
    this.strip = el("div");
    this.preview = el("p", { className: "preview", hidden: true });
    this.note = el("p", { className: "note-box", hidden: true });
    this.steps = el("ol", { className: "steps" });
    this.writing = el("ol", { className: "steps", "aria-hidden": "true" });
    this.element = el(
      "article",
      { className: "card run" },
      el("div", { className: "run-head" }, this.title, this.settings),
      this.answer,
      this.note,
      this.totals,
      this.strip,
      this.preview,
      this.steps,
      this.writing,
    );
    this.element.dataset.method = run.request.method;
    this.refresh();
  }

  /** Begins to count seconds. */
  start() {
    this.#started = performance.now();
    this.#clock = window.setInterval(() => this.#showTotals(), 100);
  }

  /** The run has ended: seconds stand still. */
  stop() {
    window.clearInterval(this.#clock);
    this.refresh();
  }

  /** Shows what has changed. */
  refresh() {
    const { run } = this;
    if (run.steps.length < this.steps.children.length) this.steps.replaceChildren();
    for (const step of run.steps.slice(this.steps.children.length)) {
      const item = this.#step(step);
      this.steps.append(item);
      letKeyboardsScroll(item);
    }
    this.element.dataset.state = run.state;
    this.element.setAttribute("aria-busy", String(run.state === "waiting" || run.state === "running"));
    this.#showWritings();
    this.#showAnswer();
    this.#showTotals();
    this.#showStrip();
    const note = run.finished?.note;
    this.note.hidden = !note;
    this.note.textContent = note ?? "";
  }

  /**
   * Chooses how texts are shown.
   *
   * @param {boolean} wanted typeset, or else as they were written.
   */
  setTypeset(wanted) {
    this.#typeset = wanted;
    this.steps.replaceChildren();
    this.refresh();
  }

  /**
   * Marks what another threshold would have decided otherwise.
   *
   * @param {number} threshold
   */
  previewThreshold(threshold) {
    const { run } = this;
    const other = run.request.threshold !== null && Math.abs(threshold - run.request.threshold) > 0.004;
    const shown = other && isHardThreshold(run) && run.steps.length > 0;
    if (!shown && !this.element.hasAttribute("data-preview")) return;
    this.element.toggleAttribute("data-preview", shown);
    this.element.style.setProperty("--preview", String(threshold));
    const turned = shown ? firstTurned(run.steps, threshold) : undefined;
    for (const item of this.steps.querySelectorAll("li")) {
      const mark = item.querySelector(".turned");
      const isIt = turned !== undefined && item.dataset.index === String(turned.index);
      if (mark) mark.textContent = isIt ? `${turned.source === "draft" ? "rejected" : "let through"} at ${format.threshold(threshold)}` : "";
    }
    this.preview.hidden = !shown;
    if (!shown) return;
    const at = `At threshold ${format.threshold(threshold)}`;
    this.preview.textContent = turned
      ? `${at}, step ${turned.index + 1} would be the first to go the other way: its draft would be ${turned.source === "draft" ? "rejected" : "let through"}. Solve again to see what follows.`
      : `${at}, every draft here would be decided as it was.`;
  }

  /** @param {import("./run.js").Step} step */
  #step(step) {
    return stepItem(step, this.run.request.threshold, this.#shown);
  }

  /** A text as nodes. @param {string} text @returns {Node[]} */
  #shown = (text) => (this.#typeset ? typeset(text) : [document.createTextNode(text)]);

  #showStrip() {
    const { steps, writings, state } = this.run;
    const look = `${steps.length} ${[...writings.values()].at(-1)?.role} ${state}`;
    if (look !== this.#stripLook) this.strip.replaceChildren(strip(this.run));
    this.#stripLook = look;
  }

  #showWritings() {
    const { run } = this;
    /** @type {Map<number, import("./run.js").Writing[]>} */
    const byStep = new Map();
    for (const writing of run.writings.values()) byStep.set(writing.step, [...(byStep.get(writing.step) ?? []), writing]);
    const items = [...byStep.values()].map((writings) => writingItem(writings, run.request.threshold, this.#shown));
    const begun = run.steps.length || items.length;
    if (!begun && run.text) items.push(el("li", { className: "step plain" }, el("div", { className: "written" }, run.text)));
    else if (!begun && (run.state === "waiting" || run.state === "running")) items.push(el("li", { className: "step plain waiting" }, "waiting for the first step"));
    this.writing.replaceChildren(...items);
    this.writing.hidden = !items.length;
  }

  #showAnswer() {
    const { run } = this;
    const answer = run.finished?.answer;
    const why = whyNone(run);
    this.answer.hidden = !answer && !why;
    if (answer) this.answer.replaceChildren("Answer ", el("strong", {}, ...(this.#typeset ? typesetAnswer(answer) : [answer])));
    else this.answer.textContent = why;
  }

  #showTotals() {
    const { run } = this;
    const sums = totals(run);
    const seconds = run.finished ? run.finished.seconds : this.#started ? (performance.now() - this.#started) / 1000 : null;
    const frozen = !run.finished && run.state !== "running" && run.state !== "waiting";
    const share = sums.acceptance === null ? "–" : format.percent(sums.acceptance);
    const steps = format.many(sums.steps, "step");
    const tiles = [
      flopsTile(sums),
      tile("Accepted", share, sums.acceptance === null ? steps : `${sums.accepted} of ${steps}`, "Steps that the draft wrote and the reward model let through"),
      tile("Time", seconds === null || frozen ? "–" : format.seconds(seconds), ""),
      tile("Tokens", format.count(sums.draftTokens + sums.targetTokens), "", "Written, rejected drafts included once the answer has ended"),
    ];
    tiles[3].append(
      el("dd", { className: "small" }, el("span", { className: "of-draft" }, `draft ${format.count(sums.draftTokens)}`), " · ", el("span", { className: "of-target" }, `target ${format.count(sums.targetTokens)}`)),
    );
    this.totals.replaceChildren(...tiles);
  }
}

/** What is wider than the page scrolls by itself, and must be reachable by keyboard. @param {HTMLElement} item */
function letKeyboardsScroll(item) {
  for (const wide of item.querySelectorAll(".display, code.block"))
    if (wide.scrollWidth > wide.clientWidth) /** @type {HTMLElement} */ (wide).tabIndex = 0;
}

/** By the paper's rule where the server says so, with the exact count below. @param {import("./totals.js").Totals} sums */
function flopsTile({ saved, flops, savedByPaper, flopsByPaper }) {
  const spent = flops === null ? "" : `${format.flops(flops)}FLOPs`;
  if (flopsByPaper === null) return tile("FLOPs saved", saved === null ? "–" : format.percent(saved), spent, SAVED);
  const exact = saved === null ? spent : `exact count ${format.percent(saved)}`;
  return tile("FLOPs saved", savedByPaper === null ? "–" : format.percent(savedByPaper), exact, BY_PAPER);
}

/** @param {string} name @param {string} value @param {string} small @param {string} [title] */
const tile = (name, value, small, title = "") =>
  el("div", { title }, el("dt", {}, name), el("dd", {}, value), small && el("dd", { className: "small" }, small));
