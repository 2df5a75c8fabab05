// @ts-check
// Finds mathematics in a model's text. Pure: no document.

/** @typedef {{kind: "text" | "inline" | "display", text: string, tex: string}} Piece `text` is what was written. */

const ENVIRONMENTS = /^\\begin\{((?:align|aligned|alignat|equation|gather|gathered|cases|array|split|[pbBvV]?matrix)\*?)\}/;
const LONGEST = 4000;

/**
 * A text as pieces of prose and of mathematics, in order; joined, their texts are the text.
 *
 * `$` counts as mathematics only where it cannot be money: nothing blank inside its ends, no digit after it.
 *
 * @param {string} text
 * @returns {Piece[]}
 */
export function pieces(text) {
  /** @type {Piece[]} */
  const found = [];
  let begin = 0;
  let at = 0;
  while (at < text.length) {
    const piece = text[at] === "$" || text[at] === "\\" ? mathematicsAt(text, at) : null;
    if (piece === null) {
      at += text[at] === "\\" ? 2 : 1;
      continue;
    }
    if (begin < at) found.push(prose(text.slice(begin, at)));
    found.push(piece);
    at += piece.text.length;
    begin = at;
  }
  if (begin < text.length) found.push(prose(text.slice(begin)));
  return found;
}

/** @param {string} text @returns {Piece} */
const prose = (text) => ({ kind: "text", text, tex: "" });

/**
 * The mathematics that begins here.
 *
 * @param {string} text
 * @param {number} at
 * @returns {Piece | null}
 */
function mathematicsAt(text, at) {
  return (
    between(text, at, "$$", "$$", "display") ??
    between(text, at, "\\[", "\\]", "display") ??
    between(text, at, "\\(", "\\)", "inline") ??
    dollars(text, at) ??
    boxed(text, at) ??
    environment(text, at)
  );
}

/**
 * @param {string} text
 * @param {number} at
 * @param {string} open
 * @param {string} close
 * @param {"inline" | "display"} kind
 * @returns {Piece | null}
 */
function between(text, at, open, close, kind) {
  if (!text.startsWith(open, at)) return null;
  const end = text.indexOf(close, at + open.length);
  const tex = text.slice(at + open.length, Math.max(end, 0));
  return end < 0 || !usable(tex) ? null : { kind, text: text.slice(at, end + close.length), tex };
}

/** @param {string} text @param {number} at @returns {Piece | null} */
function dollars(text, at) {
  const [all, tex] = /^\$((?![\s$])(?:\\[^]|[^\\$])*?(?<!\s))\$(?![\d$])/.exec(text.slice(at, at + LONGEST)) ?? [];
  return all === undefined || !usable(tex) || /\n\s*\n/.test(tex) ? null : { kind: "inline", text: all, tex };
}

/** `\boxed{46}`, which models also write outside of mathematics. @param {string} text @param {number} at @returns {Piece | null} */
function boxed(text, at) {
  if (!text.startsWith("\\boxed{", at)) return null;
  let depth = 0;
  for (let end = at + 6; end < text.length && end < at + LONGEST; end += 1) {
    if (text[end] === "\\") end += 1;
    else if (text[end] === "{") depth += 1;
    else if (text[end] === "}" && (depth -= 1) === 0) {
      const tex = text.slice(at, end + 1);
      return { kind: "inline", text: tex, tex };
    }
  }
  return null;
}

/** @param {string} text @param {number} at @returns {Piece | null} */
function environment(text, at) {
  const name = ENVIRONMENTS.exec(text.slice(at, at + 32))?.[1];
  if (!name) return null;
  const close = `\\end{${name}}`;
  const end = text.indexOf(close, at);
  const tex = text.slice(at, end + close.length);
  return end < 0 || !usable(tex) ? null : { kind: "display", text: tex, tex };
}

/** @param {string} tex */
const usable = (tex) => tex.trim() !== "" && tex.length <= LONGEST;
