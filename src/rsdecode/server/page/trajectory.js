// @ts-check
// The document that is downloaded, dropped back in and shared. Pure: no document of the browser.
import { Run } from "./run.js";

/**
 * @typedef {Object} Trajectory
 * @property {string} question
 * @property {Record<string, string | null>} models
 * @property {Run[]} runs
 */

const FORMAT = "rsdecode.trajectory/1";
const MOST_STEPS = 10_000;

/**
 * @param {Trajectory} trajectory
 * @param {string} version of rsdecode.
 */
export const toDocument = ({ question, models, runs }, version) => ({
  format: FORMAT,
  version,
  question,
  models,
  runs: runs.map(({ request, steps, finished, text, state }) => ({
    request,
    steps: stepsOf(steps),
    finished: finished && finishedOf(finished, steps.length),
    text,
    state,
  })),
});

/**
 * Reads a document of this page, or a line that `rsd solve --json` or `--output` wrote.
 *
 * @param {string} text
 * @returns {Trajectory}
 * @throws {Error} says what is wrong with it.
 */
export function fromText(text) {
  const value = jsonOf(text);
  if (value?.format === FORMAT) return fromDocument(value);
  if (typeof value?.format === "string" && value.format.startsWith("rsdecode.trajectory"))
    throw new Error(`It is of a format that this page does not know (${value.format.slice(0, 40)}).`);
  if (Array.isArray(value?.steps) && "stop_reason" in value) return fromRecord(value);
  throw new Error("It is not a trajectory: neither downloaded from this page nor written by rsd solve.");
}

/**
 * @param {any} value
 * @returns {Trajectory}
 */
export function fromDocument(value) {
  if (value?.format !== FORMAT || !Array.isArray(value.runs) || !value.runs.length)
    throw new Error("It holds no runs.");
  return { question: textOf(value.question), models: modelsOf(value.models), runs: value.runs.slice(0, 8).map(runOf) };
}

/** @param {string} text JSON, or lines of it, of which the first is taken. */
function jsonOf(text) {
  for (const part of [text, text.trimStart().split("\n", 1)[0]]) {
    try {
      return JSON.parse(part);
    } catch {
      continue;
    }
  }
  throw new Error("It is not JSON.");
}

/** @param {any} saved @returns {Run} */
function runOf(saved) {
  const { method, threshold, seed, temperature, max_tokens } = saved?.request ?? {};
  const run = new Run({
    method: textOf(method) || "rsd",
    threshold: numberOf(threshold),
    seed: numberOf(seed) ?? 0,
    temperature: numberOf(temperature),
    max_tokens: numberOf(max_tokens),
  });
  run.steps = stepsOf(saved?.steps);
  run.text = textOf(saved?.text);
  run.finished = saved?.finished ? finishedOf(saved.finished, run.steps.length) : null;
  run.state = run.finished ? "done" : saved?.state === "failed" ? "failed" : "stopped";
  return run;
}

/** A line of `rsd solve`. @param {any} record @returns {Trajectory} */
function fromRecord(record) {
  const steps = stepsOf(record.steps);
  const judged = steps.some((step) => step.reward !== null);
  const written = new Set(steps.map((step) => step.source));
  const run = new Run({
    method: judged || written.size > 1 ? "rsd" : (steps[0]?.source ?? "rsd"),
    threshold: null,
    seed: numberOf(record.seed) ?? 0,
    temperature: null,
    max_tokens: null,
  });
  run.steps = steps;
  run.state = "done";
  run.finished = finishedOf(
    {
      answer: record.answer,
      finish_reason: record.stop_reason,
      seconds: record.seconds,
      tokens: { draft: record.usage?.draft?.decoded_tokens, target: record.usage?.target?.decoded_tokens },
      flops: { total: record.flops?.exact, paper: { total: record.flops?.paper } },
    },
    steps.length,
  );
  return { question: textOf(record.question ?? record.problem), models: {}, runs: [run] };
}

/** @param {any} steps @returns {import("./run.js").Step[]} */
function stepsOf(steps) {
  if (!Array.isArray(steps)) throw new Error("It holds no steps.");
  return steps.slice(0, MOST_STEPS).map((step, index) => {
    if (!step || typeof step.text !== "string") throw new Error(`Its step ${index + 1} has no text.`);
    return {
      index,
      source: step.source === "draft" ? "draft" : "target",
      text: step.text,
      reward: numberOf(step.reward),
      weight: numberOf(step.weight),
      tokens: numberOf(step.tokens) ?? 0,
      seconds: numberOf(step.seconds) ?? undefined,
      rejected: (Array.isArray(step.rejected) ? step.rejected : []).map((/** @type {any} */ draft) => ({
        text: textOf(draft?.text),
        reward: numberOf(draft?.reward),
        weight: numberOf(draft?.weight),
        finish_reason: textOf(draft?.finish_reason),
      })),
      flops: step.flops ? flopsOf(step.flops) : undefined,
    };
  });
}

/** @param {any} finished @param {number} steps @returns {import("./run.js").Finished} */
const finishedOf = (finished, steps) => ({
  answer: typeof finished.answer === "string" ? finished.answer : null,
  finish_reason: textOf(finished.finish_reason),
  steps,
  acceptance: numberOf(finished.acceptance),
  seconds: numberOf(finished.seconds),
  tokens: numbersOf(finished.tokens),
  flops: flopsOf(finished.flops),
  note: typeof finished.note === "string" ? finished.note : null,
});

/** @param {any} flops @returns {import("./run.js").Flops} */
const flopsOf = (flops) => ({ ...numbersOf(flops), paper: flops?.paper ? numbersOf(flops.paper) : undefined });

/** @param {any} values @returns {Record<string, number | undefined>} */
const numbersOf = (values) =>
  Object.fromEntries(Object.entries(values ?? {}).map(([name, value]) => [name, numberOf(value) ?? undefined]));

/** @param {any} models */
const modelsOf = (models) => Object.fromEntries(Object.entries(models ?? {}).map(([role, spec]) => [role, textOf(spec)]));

/** @param {unknown} value */
const textOf = (value) => (typeof value === "string" ? value : "");

/** @param {unknown} value */
const numberOf = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
