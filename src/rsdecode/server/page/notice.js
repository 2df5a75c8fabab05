// @ts-check
import { byId, el } from "./element.js";

/** @typedef {{label: string, act: () => void}} Action */

/** One message about what went wrong, where screen readers hear it at once. */
export class Notice {
  #place = byId("notice");
  #text = el("p");
  #actions = el("div", { className: "actions" });

  /**
   * @param {string} message
   * @param {Action[]} [actions]
   * @param {boolean} [lasting] whether it stays until it is over by itself.
   */
  show(message, actions = [], lasting = false) {
    this.#text = el("p", {}, message);
    this.#actions = el(
      "div",
      { className: "actions" },
      ...actions.map(({ label, act }) => el("button", { type: "button", onclick: act }, label)),
      !lasting && el("button", { type: "button", className: "plain", onclick: () => this.clear() }, "Dismiss"),
    );
    this.#place.replaceChildren(el("div", { className: "card notice" }, this.#text, this.#actions));
  }

  clear() {
    this.#place.replaceChildren();
  }

  /**
   * Counts down before another try.
   *
   * @param {string} message
   * @param {number} seconds
   * @param {AbortSignal} signal ends it early.
   * @returns {Promise<void>} when the time is over, or the person is tired of waiting.
   */
  wait(message, seconds, signal) {
    return new Promise((resolve, reject) => {
      const count = el("span", { "aria-hidden": "true" });
      let left = seconds;
      const tell = () => (count.textContent = ` Next try in ${left} s.`);
      const end = (/** @type {() => void} */ settle) => {
        window.clearInterval(timer);
        this.clear();
        settle();
      };
      const timer = window.setInterval(() => {
        left -= 1;
        if (left <= 0) end(resolve);
        else tell();
      }, 1000);
      this.show(message, [{ label: "Try now", act: () => end(resolve) }], true);
      this.#text.append(count);
      tell();
      signal.addEventListener("abort", () => end(() => reject(signal.reason)), { once: true });
    });
  }
}
