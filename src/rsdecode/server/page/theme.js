// @ts-check
import { byId } from "./element.js";

const NEXT = /** @type {Record<string, string>} */ ({ system: "dark", dark: "light", light: "system" });
const SCHEMES = /** @type {Record<string, string>} */ ({ system: "light dark", dark: "dark", light: "light" });

/** Lets people choose dark or light; by default the system's choice holds. */
export function offerThemes() {
  const button = byId("theme");
  const stored = recall();
  let theme = stored in SCHEMES ? stored : "system";
  const show = () => {
    document.documentElement.style.colorScheme = SCHEMES[theme];
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    show();
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // a browser that stores nothing forgets the choice
    }
  });
  show();
}

/** @returns {string} */
function recall() {
  try {
    return localStorage.getItem("theme") ?? "system";
  } catch {
    return "system";
  }
}
