// @ts-check
// Numbers for people.

/** @param {number} reward in [0, 1]; never rounded up to a threshold that it misses. */
export const reward = (reward) => (Math.floor(reward * 100 + 1e-9) / 100).toFixed(2);

/** @param {number} threshold in [0, 1] */
export const threshold = (threshold) => threshold.toFixed(2);

/** @param {number} share 0.534 becomes 53 %. */
export const percent = (share) => `${minus(Math.round(share * 100))} %`;

/** @param {number} seconds */
export const seconds = (seconds) =>
  seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;

/** @param {number} ratio 0.468 becomes 0.47×. */
export const times = (ratio) => `${ratio < 0.1 ? ratio.toPrecision(1) : ratio.toFixed(2)}×`;

/** @param {number} count 12345 becomes 12,345. */
export const count = (count) => count.toLocaleString("en");

/** @param {number} flops 1234000000 becomes 1.23 G. */
export function flops(flops) {
  const units = [" ", " k", " M", " G", " T", " P", " E"];
  let place = 0;
  while (flops >= 999.5 && place < units.length - 1) {
    flops /= 1000;
    place += 1;
  }
  return `${flops >= 100 ? flops.toFixed(0) : flops.toPrecision(3)}${units[place]}`;
}

/**
 * "1 step", "3 steps".
 *
 * @param {number} number
 * @param {string} noun
 */
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** @param {number} number with a real minus sign. */
const minus = (number) => String(number).replace("-", "−");
