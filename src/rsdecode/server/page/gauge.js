// @ts-check
import { el } from "./element.js";
import * as format from "./format.js";

/**
 * A reward as a bar, with the threshold as a line across it. A second line, of the threshold that is being tried, is
 * placed by the style's `--preview`.
 *
 * @param {number} reward in [0, 1]
 * @param {number | null} threshold
 */
export function gauge(reward, threshold) {
  const bar = el("span", { className: "gauge", "aria-hidden": "true" }, el("i"));
  bar.style.setProperty("--reward", String(reward));
  if (threshold !== null) {
    bar.append(el("b"));
    bar.style.setProperty("--threshold", String(threshold));
  }
  bar.append(el("u"));
  return bar;
}

/**
 * "reward 0.97" with its bar; for screen readers also where the threshold is.
 *
 * @param {string} label
 * @param {number} reward
 * @param {number | null} threshold
 */
export function labelledGauge(label, reward, threshold) {
  const against = threshold === null ? "" : `, threshold ${format.threshold(threshold)}`;
  const side = threshold === null ? "" : `, ${reward >= threshold ? "not below" : "below"} the threshold ${format.threshold(threshold)}`;
  return el(
    "span",
    { className: "reward", title: `reward ${format.reward(reward)}${against}` },
    `${label} `,
    el("span", { className: "number" }, format.reward(reward)),
    el("span", { className: "unseen" }, side),
    gauge(reward, threshold),
  );
}
