// @ts-check
import { byId } from "./element.js";

const LARGEST = 20_000_000;

/**
 * Gives a document to the person as a file.
 *
 * @param {Object} value
 * @param {string} name
 */
export function download(value, name) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(value, null, 1)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/**
 * A file's name made of a question.
 *
 * @param {string} question
 */
export const fileName = (question) =>
  `rsd-${question.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40) || "trajectory"}.json`;

/**
 * Takes files that are dropped on the page or chosen.
 *
 * @param {(text: string, name: string) => void} onText
 * @param {(message: string) => void} onFault
 */
export function acceptFiles(onText, onFault) {
  const overlay = byId("drop");
  const chooser = byId("file");
  let depth = 0;
  const show = (/** @type {number} */ change) => {
    depth = change === 0 ? 0 : depth + change;
    overlay.hidden = depth <= 0;
  };
  const take = async (/** @type {File | undefined} */ file) => {
    if (!file) return;
    if (file.size > LARGEST) onFault(`${file.name} is larger than 20 MB: too large for this page.`);
    else onText(await file.text(), file.name);
  };
  const hasFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragenter", (event) => hasFile(event) && show(1));
  window.addEventListener("dragleave", (event) => hasFile(event) && show(-1));
  window.addEventListener("dragover", (event) => hasFile(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    show(0);
    take(event.dataTransfer?.files[0]);
  });
  byId("open-file").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    take(chooser.files[0]);
    chooser.value = "";
  });
}
