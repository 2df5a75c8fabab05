// @ts-check
import { el } from "./element.js";
import * as format from "./format.js";
import { labelledGauge } from "./gauge.js";
import { isCut } from "./run.js";

/** @typedef {import("./run.js").Step} Step */
/** @typedef {import("./run.js").Writing} Writing */
/** @typedef {(text: string) => Node[]} Typeset */

/**
 * A decided step: who wrote it, the reward against the threshold, the drafts that it replaced, its text.
 *
 * @param {Step} step
 * @param {number | null} threshold
 * @param {Typeset} typeset
 */
export function stepItem(step, threshold, typeset) {
  const drafted = step.source === "draft";
  const chance = step.weight !== null && step.weight > 0 && step.weight < 1;
  const item = el(
    "li",
    { className: `step ${step.source}` },
    el(
      "div",
      { className: "who" },
      el("span", {}, `step ${step.index + 1}`),
      el("b", {}, step.source),
      step.reward !== null && labelledGauge(drafted ? "reward" : "draft’s reward", step.reward, threshold),
      chance && el("span", { title: "the probability with which this draft was let through" }, `weight ${step.weight?.toFixed(2)}`),
      el("span", { className: "turned" }),
      step.tokens > 0 && el("span", { className: "tokens" }, format.many(step.tokens, "token")),
    ),
    ...step.rejected.map((draft) => rejectedDraft(draft, typeset)),
    el("div", { className: "written" }, ...typeset(step.text.trim())),
  );
  item.dataset.index = String(step.index);
  return item;
}

/** @param {import("./run.js").RejectedDraft} draft @param {Typeset} typeset */
const rejectedDraft = (draft, typeset) =>
  el(
    "details",
    { className: "rejected" },
    el("summary", {}, `rejected draft, ${verdict(draft)}`),
    el("del", { className: "written" }, ...(draft.text.trim() ? typeset(draft.text.trim()) : ["(empty)"])),
  );

/** A draft that is cut is rejected without being scored. @param {import("./run.js").RejectedDraft} draft */
function verdict({ reward, finish_reason }) {
  if (reward !== null) return `reward ${format.reward(reward)}`;
  return isCut(finish_reason) ? "cut at its limit" : "not scored";
}

/**
 * A step that is being written: provisional texts, faint.
 *
 * @param {Writing[]} writings of one step.
 * @param {number | null} threshold
 * @param {Typeset} typeset
 */
export function writingItem(writings, threshold, typeset) {
  const last = writings[writings.length - 1];
  const item = el("li", { className: `step writing ${last.role}` });
  item.append(...writings.map((writing) => provisional(writing, writings.length, writing === last, threshold, typeset)));
  return item;
}

/**
 * @param {Writing} writing
 * @param {number} beside how many texts are shown for the step.
 * @param {boolean} last
 * @param {number | null} threshold
 * @param {Typeset} typeset
 */
function provisional({ role, step, text, written, cut, reward }, beside, last, threshold, typeset) {
  const replaced = role === "draft" && !last && (cut || reward !== null);
  const waiting = cut ? "was cut at its limit" : "is being scored";
  const doing = reward !== null ? "" : written ? waiting : "is writing";
  return el(
    "div",
    { className: `provisional ${role}${replaced ? " replaced" : ""}` },
    el(
      "div",
      { className: "who" },
      el("span", {}, `step ${step + 1}`),
      el("b", {}, role),
      doing && el("span", { className: "doing" }, doing),
      reward !== null && labelledGauge("reward", reward, threshold),
    ),
    el("div", { className: beside > 1 && !last ? "written short" : "written" }, ...typeset(text.trim())),
  );
}
