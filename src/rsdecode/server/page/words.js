// @ts-check
// What is said about a run, in words.
import * as format from "./format.js";
import { totals } from "./totals.js";

/** @typedef {import("./run.js").Run} Run */

const NAMES = /** @type {Record<string, string>} */ ({ rsd: "RSD", target: "Target alone", draft: "Draft alone" });

const ENDED = /** @type {Record<string, string>} */ ({
  length: "it reached the token limit or the end of the context",
  max_steps: "it reached the limit of steps",
  cancelled: "it was cancelled",
  deadline: "its time was over",
  error: "a request failed",
});
const COMPLETE = ["eos", "stop"];

/** @param {string} method */
export const methodName = (method) => NAMES[method] ?? method;

/** "threshold 0.70 · seed 1". @param {Run} run */
export const settings = ({ request: { threshold, seed, temperature } }) =>
  [
    threshold !== null && `threshold ${format.threshold(threshold)}`,
    temperature !== null && `temperature ${temperature}`,
    `seed ${seed}`,
  ]
    .filter(Boolean)
    .join(" · ");

/** Why there is no answer; empty where there is one. @param {Run} run */
export function whyNone({ finished, state }) {
  if (state === "stopped") return "Stopped: there is no answer.";
  if (!finished || finished.answer !== null) return "";
  const reason = finished.finish_reason;
  if (COMPLETE.includes(reason)) return "The model ended its text without stating an answer.";
  return `No answer: ${ENDED[reason] ?? (reason || "it did not end")}.`;
}

/** A step that has just been decided, for screen readers. @param {import("./run.js").Step} step */
export function stepNews(step) {
  const reward = step.reward === null ? "" : `, ${step.source === "draft" ? "" : "the draft’s "}reward ${format.reward(step.reward)}`;
  return `Step ${step.index + 1} by the ${step.source}${reward}.`;
}

/** The end of a run, for screen readers. @param {Run} run */
export function endNews(run) {
  const { acceptance, accepted, steps, saved, savedByPaper } = totals(run);
  const share = savedByPaper ?? saved;
  const answer = run.finished?.answer;
  return [
    `${methodName(run.request.method)}: ${answer ? `answer ${answer}.` : whyNone(run)}`,
    acceptance !== null && `${accepted} of ${format.many(steps, "step")} by the draft.`,
    share !== null && `${format.percent(share)} of the target’s FLOPs saved.`,
  ]
    .filter(Boolean)
    .join(" ");
}
