// @ts-check
import { el } from "./element.js";
import * as format from "./format.js";
import { totals } from "./totals.js";
import { typesetAnswer } from "./typeset.js";
import { methodName, whyNone } from "./words.js";

/** @typedef {import("./run.js").Run} Run */

/** Several runs of one question in a table, with what comes out of it in a sentence. */
export class Comparison {
  /** @param {Run[]} runs */
  constructor(runs) {
    this.runs = runs;
    this.sentence = el("p", { className: "sentence" });
    this.head = el("thead");
    this.body = el("tbody");
    this.element = el(
      "section",
      { className: "card comparison", "aria-label": "Comparison" },
      el("h2", { tabIndex: -1 }, "Comparison"),
      this.sentence,
      el(
        "div",
        { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Comparison, table" },
        el("table", {}, this.head, this.body),
      ),
      el("p", { className: "note" }, "All of them are solved at the same time, so their seconds include waiting for each other."),
    );
    this.refresh();
  }

  /** Shows what has changed. */
  refresh() {
    const costs = costsOf(this.runs);
    const largest = Math.max(1, ...costs.map(({ ratio }) => ratio ?? 0));
    const both = costs.some(({ exact }) => exact !== null);
    const cost = both ? ["FLOPs by the paper’s rule, target alone = 1", "FLOPs, exact count"] : ["FLOPs, target alone = 1"];
    const columns = ["", "Answer", ...cost, "Steps by the draft", "Tokens, draft + target", "Time"];
    this.head.replaceChildren(el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name))));
    this.body.replaceChildren(...this.runs.map((run, place) => row(run, costs[place], largest, both)));
    this.sentence.textContent = conclusion(this.runs);
    this.sentence.hidden = !this.sentence.textContent;
  }
}

/** @typedef {{ratio: number | null, exact: number | null}} Cost relative to the target alone; `exact` only beside the paper's. */

/**
 * FLOPs of runs that have ended, relative to the target's run.
 *
 * @param {Run[]} runs
 * @returns {Cost[]}
 */
function costsOf(runs) {
  const ended = (/** @type {Run | undefined} */ run) => (run?.finished ? totals(run) : null);
  const target = ended(runs.find((run) => run.request.method === "target"));
  const relative = (/** @type {number | null | undefined} */ flops, /** @type {number | null | undefined} */ whole) =>
    whole && flops != null ? flops / whole : null;
  return runs.map((run) => {
    const sums = ended(run);
    const exact = relative(sums?.flops, target?.flops);
    const paper = relative(sums?.flopsByPaper, target?.flopsByPaper);
    return paper === null ? { ratio: exact, exact: null } : { ratio: paper, exact };
  });
}

/** @param {Run} run @param {Cost} cost @param {number} largest ratio of all runs. @param {boolean} both counts are shown. */
function row(run, { ratio, exact }, largest, both) {
  const sums = totals(run);
  const bar = el("span", { className: "cost", "aria-hidden": "true" }, el("i"));
  bar.style.setProperty("--ratio", String((ratio ?? 0) / largest));
  const waiting = run.state === "running" || run.state === "waiting" ? "…" : "–";
  const answer = run.finished?.answer;
  const cells = [
    ratio === null ? waiting : format.times(ratio),
    ...(both ? [exact === null ? waiting : format.times(exact)] : []),
    sums.acceptance === null ? "–" : `${sums.accepted} of ${sums.steps}`,
    `${format.count(sums.draftTokens)} + ${format.count(sums.targetTokens)}`,
    run.finished?.seconds == null ? waiting : format.seconds(run.finished.seconds),
  ];
  const line = el("tr", {}, el("th", { scope: "row", className: run.request.method }, methodName(run.request.method)));
  line.append(el("td", {}, ...(answer ? typesetAnswer(answer) : [whyNone(run) ? "none" : waiting])));
  line.append(...cells.map((cell, place) => el("td", {}, cell, place === 0 && bar)));
  return line;
}

/**
 * What a comparison comes to; empty before RSD and the target have ended.
 *
 * @param {Run[]} runs
 */
export function conclusion(runs) {
  const [rsd, target] = ["rsd", "target"].map((method) => runs.find((run) => run.request.method === method)?.finished);
  if (!rsd || !target) return "";
  const { ratio, exact } = costsOf(runs)[runs.findIndex((run) => run.request.method === "rsd")];
  const cost = ratio === null ? "" : ` with ${format.times(ratio)} its FLOPs${exact === null ? "" : ` (exact count: ${format.times(exact)})`}`;
  if (rsd.answer !== null && rsd.answer === target.answer) return `RSD gives the answer of the target alone${cost}.`;
  return `The target alone answers ${target.answer ?? "nothing"}; RSD answers ${rsd.answer ?? "nothing"}${cost}.`;
}
