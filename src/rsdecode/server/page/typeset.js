// @ts-check
// A model's text as nodes: mathematics by KaTeX, a little Markdown, and everything else as it was written.
import { el } from "./element.js";
import { pieces } from "./mathematics.js";

/** No macro may open links or files, none may grow without end, and nothing may be larger than the text around it. */
const OPTIONS = { trust: false, strict: "ignore", maxExpand: 500, maxSize: 10, throwOnError: true };

/**
 * A step's text, typeset.
 *
 * @param {string} text
 * @returns {Node[]}
 */
export function typeset(text) {
  return text
    .split(/(^```[^]*?^```[^\S\n]*$)/m)
    .flatMap((part, place) => (place % 2 ? [el("code", { className: "block" }, part)] : paragraphs(part)));
}

/**
 * An answer: mathematics even without dollars around it, where it looks like it.
 *
 * @param {string} answer
 * @returns {Node[]}
 */
export function typesetAnswer(answer) {
  const bare = /[\\^_]/.test(answer) && !/\$|\\[[(]/.test(answer);
  return bare ? [rendered(answer, answer, false)] : typeset(answer);
}

/** @param {string} text @returns {Node[]} */
const paragraphs = (text) =>
  pieces(text).flatMap((piece) =>
    piece.kind === "text" ? prose(piece.text) : [rendered(piece.tex, piece.text, piece.kind === "display")],
  );

/**
 * @param {string} tex
 * @param {string} written shown where KaTeX cannot read it.
 * @param {boolean} displayMode
 */
function rendered(tex, written, displayMode) {
  const place = el("span", { className: displayMode ? "display" : "inline" });
  try {
    /** @type {any} */ (globalThis).katex.render(tex, place, { ...OPTIONS, displayMode });
    return place;
  } catch {
    return el("code", {}, written);
  }
}

const MARKS = /(\*\*(?=\S)[^*\n]+?(?<=\S)\*\*|`[^`\n]+`|^#{1,6} .+$)/m;

/**
 * Bold, code and headings; all else as it was written.
 *
 * @param {string} text
 * @returns {Node[]}
 */
function prose(text) {
  return text.split(new RegExp(MARKS, "gm")).map((part, place) => {
    if (place % 2 === 0) return document.createTextNode(part);
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("#")) return el("strong", { className: "heading" }, part.replace(/^#+ /, "").replaceAll("**", ""));
    return el("strong", {}, part.slice(2, -2));
  });
}
