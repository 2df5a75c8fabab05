// @ts-check
import { el } from "./element.js";
import * as format from "./format.js";

/** @typedef {import("./run.js").Run} Run */

/**
 * The whole answer at a glance: one piece for each step, as wide as its tokens, in the colour of its writer.
 *
 * @param {Run} run
 */
export function strip({ steps, writings, state }) {
  const drafted = steps.filter((step) => step.source === "draft").length;
  const label = `${format.many(steps.length, "step")}: ${drafted} by the draft, ${steps.length - drafted} by the target`;
  const pieces = steps.map((step) => piece(step.source, step.tokens || 1, `step ${step.index + 1}, ${step.source}`));
  const last = [...writings.values()].at(-1);
  if (state === "running" && last) pieces.push(piece(`${last.role} writing`, 16, "being written"));
  return el("div", { className: "strip", role: "img", "aria-label": label }, ...pieces);
}

/** @param {string} className @param {number} tokens @param {string} title */
function piece(className, tokens, title) {
  const node = el("span", { className, title });
  node.style.flexGrow = String(tokens);
  return node;
}
