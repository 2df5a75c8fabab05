// @ts-check
import { byId } from "./element.js";

/** Asks for the server's key, which is kept in memory only. */
export class KeyPrompt {
  #dialog = byId("key-prompt");
  #input = byId("key");
  #error = byId("key-error");

  constructor() {
    byId("no-key").addEventListener("click", () => this.#dialog.close());
  }

  /**
   * @param {string} [error] what was wrong with the key before.
   * @returns {Promise<string | null>} null where the person gave none.
   */
  ask(error = "") {
    this.#input.value = "";
    this.#error.textContent = error;
    this.#dialog.returnValue = "";
    if (!this.#dialog.open) this.#dialog.showModal();
    return new Promise((resolve) => {
      this.#dialog.addEventListener(
        "close",
        () => {
          const key = this.#dialog.returnValue === "use" ? this.#input.value.trim() : "";
          this.#input.value = "";
          resolve(key || null);
        },
        { once: true },
      );
    });
  }
}
