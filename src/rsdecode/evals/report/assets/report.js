"use strict";
// The browser of trajectories. Texts only ever become text nodes, never markup.
(() => {
  const all = JSON.parse(document.getElementById("trajectories").textContent);
  const root = document.getElementById("browser");
  if (!root || !all.length) return;
  root.hidden = false;
  const PAGE = 100;
  const field = (name) => root.querySelector(`[name="${name}"]`);
  const list = root.querySelector(".list");
  const count = root.querySelector(".count");
  const detail = root.querySelector(".detail");
  let shown = [];
  let limit = PAGE;
  let current = null;

  const el = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const number = (reward) => (reward === null ? "not scored" : reward.toFixed(3));
  const mark = (entry) =>
    el("span", { className: entry.correct ? "right" : "wrong" }, entry.correct ? "✓" : "✗");
  const name = (entry) => entry.id + (entry.sample ? ` #${entry.sample}` : "");

  const fill = (select, values, every) => {
    select.append(new Option(every, ""), ...values.map((value) => new Option(value, value)));
    select.closest("label").hidden = values.length < 2;
  };
  const unique = (key) => [...new Set(all.map((entry) => entry[key]))];
  fill(field("data"), unique("data"), "all data sets");
  fill(field("method"), unique("method"), "all methods");
  const searched = all.map((entry) =>
    [entry.id, entry.question, entry.reference, entry.extracted, ...entry.steps.map((s) => s.text)]
      .join("\n")
      .toLowerCase()
  );

  const reward = (value, label) => {
    const bar = el("span", { className: "bar" }, el("i"));
    bar.firstChild.style.width = `${100 * (value ?? 0)}%`;
    bar.setAttribute("aria-hidden", "true");
    return el("span", {}, `${label} ${number(value)}`, value === null ? null : bar);
  };
  const rejected = (draft) =>
    el(
      "details",
      { className: "rejected", open: field("drafts").checked },
      el("summary", {}, `rejected draft, reward ${number(draft.reward)}`),
      el("del", {}, draft.text.trimEnd())
    );
  const step = (entry, index) => {
    const what = entry.source === "draft" ? "reward" : "the draft's reward";
    const scored = entry.weighed || entry.reward !== null;
    const who = el(
      "div",
      { className: "who" },
      el("span", {}, `step ${index + 1}`),
      el("b", {}, entry.source),
      scored ? reward(entry.reward, what) : null
    );
    const item = el("li", { className: entry.source === "draft" ? "draft" : "target" }, who);
    item.append(...entry.rejected.map(rejected));
    item.append(el("p", { className: "text" }, entry.text.trimEnd()));
    return item;
  };

  const show = (entry, focus) => {
    current = entry;
    const verdict = el(
      "p",
      { className: "verdict" },
      mark(entry),
      ` ${entry.correct ? "right" : "wrong"} · answer ${entry.extracted ?? "none"} · reference ` +
        `${entry.reference} · rule ${entry.rule} · ended by ${entry.stop} · ` +
        `${entry.seconds.toFixed(2)} s` + (entry.error ? ` · error: ${entry.error}` : "")
    );
    const same = all.filter((other) => other.data === entry.data && other.id === entry.id);
    const siblings = el(
      "div",
      { className: "siblings" },
      ...same.map((other) => {
        const label = other.method + (other.sample ? ` #${other.sample}` : "") + " ";
        const button = el("button", { type: "button", onclick: () => show(other, true) }, label, mark(other));
        if (other === entry) button.setAttribute("aria-current", "true");
        return button;
      })
    );
    siblings.setAttribute("aria-label", "the same problem by each method");
    const heading = el("h3", { tabIndex: -1 }, `${entry.data} · ${name(entry)} · ${entry.method}`);
    detail.replaceChildren(
      heading,
      el("p", { className: "question-text" }, entry.question),
      verdict,
      siblings,
      el("ol", { className: "steps" }, ...entry.steps.map(step))
    );
    for (const button of list.querySelectorAll("button[data-place]"))
      button.setAttribute("aria-current", String(shown[button.dataset.place] === entry));
    if (focus) heading.focus({ preventScroll: false });
  };

  const render = () => {
    list.replaceChildren(
      ...shown.slice(0, limit).map((entry, place) => {
        const button = el(
          "button",
          { type: "button", onclick: () => show(entry, false) },
          mark(entry),
          el("span", {}, name(entry)),
          el("span", { className: "method" }, entry.method),
          el("span", { className: "question" }, entry.question)
        );
        button.dataset.place = place;
        button.setAttribute("aria-current", String(entry === current));
        return button;
      })
    );
    if (shown.length > limit)
      list.append(
        el("button", { type: "button", onclick: () => { limit += PAGE; render(); } },
          "", el("span", {}, `${shown.length - limit} more …`))
      );
    count.textContent = `${shown.length} of ${all.length} trajectories`;
  };
  const filter = () => {
    const [data, method, verdict] = ["data", "method", "verdict"].map((key) => field(key).value);
    const wanted = field("search").value.trim().toLowerCase();
    shown = all.filter(
      (entry, place) =>
        (!data || entry.data === data) &&
        (!method || entry.method === method) &&
        (!verdict || entry.correct === (verdict === "right")) &&
        (!wanted || searched[place].includes(wanted))
    );
    limit = PAGE;
    render();
    if (shown.length && !shown.includes(current)) show(shown[0], false);
  };

  for (const key of ["data", "method", "verdict"]) field(key).addEventListener("change", filter);
  field("search").addEventListener("input", filter);
  field("drafts").addEventListener("change", (event) => {
    for (const fold of detail.querySelectorAll(".rejected")) fold.open = event.target.checked;
  });
  list.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way || event.target.tagName !== "BUTTON") return;
    event.preventDefault();
    const next = way > 0 ? event.target.nextElementSibling : event.target.previousElementSibling;
    if (!next) return;
    next.focus();
    if (next.dataset.place !== undefined) next.click();
  });
  // start with the RSD answer that has a rejected draft, if there is one
  const mixed = all.find((entry) => entry.steps.some((s) => s.weighed && !s.accepted));
  if (mixed) current = mixed;
  filter();
  show(current && shown.includes(current) ? current : shown[0], false);
})();
