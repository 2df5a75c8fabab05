// @ts-check
// What a run comes to, at any moment. Pure: no document.

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Step} Step */

/**
 * @typedef {Object} Totals
 * @property {number} steps
 * @property {number} accepted steps that the draft wrote and the reward model let through.
 * @property {number | null} acceptance share of steps; null where nothing was judged.
 * @property {number | null} saved share of the target's FLOPs, exactly counted.
 * @property {number | null} flops exactly counted.
 * @property {number | null} savedByPaper the same by the paper's rule.
 * @property {number | null} flopsByPaper
 * @property {number} draftTokens
 * @property {number} targetTokens
 * @property {number | null} rewardTokens
 */

/**
 * @param {Run} run
 * @returns {Totals}
 */
export function totals({ steps, finished }) {
  const accepted = steps.filter((step) => step.source === "draft").length;
  const judged = steps.some(isJudged);
  const flops = finished?.flops ?? steps.at(-1)?.flops ?? null;
  return {
    steps: steps.length,
    accepted,
    acceptance: judged ? accepted / steps.length : null,
    saved: flops?.saved ?? null,
    flops: flops?.total ?? null,
    savedByPaper: flops?.paper?.saved ?? null,
    flopsByPaper: flops?.paper?.total ?? null,
    draftTokens: finished?.tokens?.draft ?? tokens(steps, "draft"),
    targetTokens: finished?.tokens?.target ?? tokens(steps, "target"),
    rewardTokens: finished?.tokens?.reward ?? null,
  };
}

/**
 * Whether a draft of this step was judged.
 *
 * @param {Step} step
 */
export const isJudged = (step) => step.reward !== null || step.rejected.length > 0;

/**
 * Whether drafts are let through by a threshold alone, so that another threshold tells which would go the other way.
 *
 * @param {Run} run
 */
export const isHardThreshold = ({ request, steps }) =>
  request.threshold !== null && steps.every(({ weight }) => weight === null || weight === undefined || weight === 0 || weight === 1);

/**
 * The first step that another threshold would have decided otherwise.
 *
 * @param {Step[]} steps
 * @param {number} threshold
 * @returns {Step | undefined}
 */
export const firstTurned = (steps, threshold) =>
  steps.find(({ source, reward }) => reward !== null && reward >= threshold !== (source === "draft"));

/** @param {Step[]} steps @param {string} source */
const tokens = (steps, source) =>
  steps.filter((step) => step.source === source).reduce((sum, step) => sum + (step.tokens ?? 0), 0);
