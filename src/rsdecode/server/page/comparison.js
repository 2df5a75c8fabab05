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
    this.body = el("tbody");
    const columns = ["", "Answer", "FLOPs, target alone = 1", "Steps by the draft", "Tokens, draft + target", "Time"];
    this.element = el(
      "section",
      { className: "card comparison", "aria-label": "Comparison" },
      el("h2", { tabIndex: -1 }, "Comparison"),
      this.sentence,
      el(
        "div",
        { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Comparison, table" },
        el("table", {}, el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))), this.body),
      ),
      el("p", { className: "note" }, "All of them are solved at the same time, so their seconds include waiting for each other."),
    );
    this.refresh();
  }

  /** Shows what has changed. */
  refresh() {
    const target = this.runs.find((run) => run.request.method === "target");
    const whole = target && totals(target).flops;
    const ratios = this.runs.map((run) => costRatio(run, whole || null));
    const largest = Math.max(1, ...ratios.map((ratio) => ratio ?? 0));
    this.body.replaceChildren(...this.runs.map((run, place) => row(run, ratios[place], largest)));
    this.sentence.textContent = conclusion(this.runs);
    this.sentence.hidden = !this.sentence.textContent;
  }
}

/** @param {Run} run @param {number | null} whole FLOPs of the target alone. */
function costRatio(run, whole) {
  const { flops } = totals(run);
  return whole && flops !== null && run.finished ? flops / whole : null;
}

/** @param {Run} run @param {number | null} ratio @param {number} largest ratio of all runs. */
function row(run, ratio, largest) {
  const sums = totals(run);
  const bar = el("span", { className: "cost", "aria-hidden": "true" }, el("i"));
  bar.style.setProperty("--ratio", String((ratio ?? 0) / largest));
  const waiting = run.state === "running" || run.state === "waiting" ? "…" : "–";
  const answer = run.finished?.answer;
  const cells = [
    ratio === null ? waiting : format.times(ratio),
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
  const ratio = rsd.flops?.total && target.flops?.total ? rsd.flops.total / target.flops.total : null;
  const cost = ratio === null ? "" : ` with ${format.times(ratio)} its FLOPs`;
  if (rsd.answer !== null && rsd.answer === target.answer) return `RSD gives the answer of the target alone${cost}.`;
  return `The target alone answers ${target.answer ?? "nothing"}; RSD answers ${rsd.answer ?? "nothing"}${cost}.`;
}
