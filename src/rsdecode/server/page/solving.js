// @ts-check
import { Fault } from "./server.js";

/** @typedef {import("./run.js").Run} Run */

const MOST_TRIES = 20;

/**
 * The body of `/v1/chat/completions` for a run.
 *
 * @param {string} question
 * @param {import("./run.js").RunRequest} request
 */
export function bodyOf(question, { method, threshold, seed, temperature, max_tokens }) {
  return {
    model: "rsd",
    messages: [{ role: "user", content: question }],
    stream: true,
    seed,
    ...(temperature !== null && { temperature }),
    ...(max_tokens !== null && { max_tokens }),
    rsd: { method, ...(threshold !== null && { threshold }), trace: "deltas" },
  };
}

/**
 * Solves a question: fills the run with what the server streams, and tries again while the server is busy.
 *
 * @param {import("./server.js").Server} server
 * @param {string} question
 * @param {Run} run
 * @param {{signal: AbortSignal, onChange: (event: any) => void, onBusy: (fault: Fault) => Promise<void>, onKey: (fault: Fault) => Promise<void>}} options
 * @throws {Fault} where there is no (complete) answer.
 */
export async function solve(server, question, run, { signal, onChange, onBusy, onKey }) {
  for (let left = MOST_TRIES; ; left -= 1) {
    try {
      for await (const event of server.complete(bodyOf(question, run.request), signal)) {
        run.apply(event);
        onChange(event);
      }
      if (!run.finished) throw new Fault("lost", "The server ended its answer without saying how it ended.");
      return;
    } catch (error) {
      if (!(error instanceof Fault) || !left) throw error;
      if (error.kind === "busy") await onBusy(error);
      else if (error.kind === "key") await onKey(error);
      else throw error;
      run.restart();
      onChange(null);
    }
  }
}
