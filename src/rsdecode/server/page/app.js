// @ts-check
import { AskForm } from "./ask_form.js";
import { Comparison } from "./comparison.js";
import { byId, el } from "./element.js";
import { acceptFiles, download, fileName } from "./files.js";
import { KeyPrompt } from "./key_prompt.js";
import { Notice } from "./notice.js";
import { Run } from "./run.js";
import { RunView } from "./run_view.js";
import { Fault, Server } from "./server.js";
import { solve } from "./solving.js";
import { fromDocument, fromText, toDocument } from "./trajectory.js";
import { endNews, stepNews } from "./words.js";

/** @typedef {import("./trajectory.js").Trajectory} Trajectory */

const ROLES = ["draft", "reward", "target"];
const LINK = /^#trajectory=([\w-]{1,200})$/;

/** The page: one question at a time, with its runs. */
export class App {
  #server = new Server();
  #notice = new Notice();
  #prompt = new KeyPrompt();
  #form = new AskForm({
    onAsk: (question, requests) => this.#solve(question, requests),
    onStop: () => this.#stopping?.abort(),
    onThreshold: (threshold) => this.#views.forEach((view) => view.previewThreshold(threshold)),
    onQuestion: () => this.#showAsked(),
  });
  /** @type {import("./server.js").Info | null} */
  #info = null;
  /** @type {Trajectory | null} */
  #shown = null;
  /** @type {RunView[]} */
  #views = [];
  /** @type {Comparison | null} */
  #comparison = null;
  /** @type {AbortController | null} */
  #stopping = null;
  #drawing = 0;
  #following = false;
  /** @type {Promise<void> | null} */
  #keyAsked = null;
  /** @type {Promise<void> | null} */
  #waiting = null;

  /** Connects to the server. */
  async start() {
    byId("download").addEventListener("click", () => this.#download());
    byId("share").addEventListener("click", () => this.#share());
    byId("typeset").addEventListener("change", () => this.#views.forEach((view) => view.setTypeset(byId("typeset").checked)));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !byId("key-prompt").open) this.#stopping?.abort();
    });
    for (const scrolling of ["wheel", "touchmove", "keydown"])
      window.addEventListener(scrolling, () => (this.#following = false), { passive: true });
    window.addEventListener("hashchange", () => this.#openLink());
    acceptFiles(
      (text, name) => this.#open(name, () => fromText(text)),
      (message) => this.#notice.show(message),
    );
    await this.#connect();
  }

  async #connect() {
    try {
      const info = await this.#withKey(() => this.#server.info());
      this.#info = info;
      this.#notice.clear();
      this.#form.show(info);
      this.#showModels(info);
      byId("version").textContent = info.version;
      await this.#openLink();
    } catch (error) {
      this.#tell(error, () => this.#connect());
    }
  }

  /**
   * Asks the server to solve a question in one or several ways at the same time.
   *
   * @param {string} question
   * @param {import("./run.js").RunRequest[]} requests
   */
  async #solve(question, requests) {
    const stopping = new AbortController();
    this.#stopping = stopping;
    this.#notice.clear();
    this.#forgetLink();
    const runs = requests.map((request) => new Run(request));
    this.#show({ question, models: this.#info?.models ?? {}, runs });
    if (this.#info) this.#showModels(this.#info);
    this.#form.busy = true;
    this.#following = true;
    if (runs.length > 1) byId("result").scrollIntoView({ block: "nearest" });
    const outcomes = await Promise.allSettled(this.#views.map((view) => this.#run(question, view, stopping.signal)));
    this.#form.busy = false;
    this.#stopping = null;
    this.#refresh();
    this.#following = false;
    this.#showActions();
    if (stopping.signal.aborted) this.#say("Stopped.");
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed && !stopping.signal.aborted) this.#tell(failed.reason, () => this.#solve(question, requests));
  }

  /**
   * @param {string} question
   * @param {RunView} view
   * @param {AbortSignal} signal
   */
  async #run(question, view, signal) {
    const { run } = view;
    view.start();
    try {
      if (this.#info?.auth && !this.#server.key) await this.#askKey();
      await solve(this.#server, question, run, {
        signal,
        onChange: (event) => {
          if (event?.event === "decided" && this.#views.length === 1) this.#say(stepNews(event));
          this.#refreshSoon();
        },
        onBusy: (fault) => this.#wait(fault, signal),
        onKey: (fault) => this.#askKey(fault.message),
      });
      this.#say(endNews(run));
    } catch (error) {
      run.end(signal.aborted ? "stopped" : "failed");
      throw error;
    } finally {
      view.stop();
    }
  }

  /**
   * Puts a trajectory on the page.
   *
   * @param {Trajectory} trajectory
   */
  #show(trajectory) {
    this.#shown = trajectory;
    this.#views = trajectory.runs.map((run) => new RunView(run));
    const several = this.#views.length > 1;
    this.#comparison = several ? new Comparison(trajectory.runs) : null;
    const runs = el("div", { className: several ? "runs several" : "runs" }, ...this.#views.map((view) => view.element));
    byId("runs").replaceChildren(...(this.#comparison ? [this.#comparison.element] : []), runs);
    for (const view of this.#views) {
      view.setTypeset(byId("typeset").checked);
      view.previewThreshold(this.#form.threshold);
    }
    byId("result").hidden = false;
    this.#showAsked();
    byId("link").hidden = true;
    this.#showActions();
  }

  /** The question that the answer belongs to, where the form holds another one by now. */
  #showAsked() {
    const question = this.#shown?.question ?? "";
    byId("asked").textContent = question;
    byId("asked").hidden = !question || question === this.#form.question.trim();
  }

  #showActions() {
    const whole = Boolean(this.#shown) && !this.#stopping;
    byId("download").disabled = !whole;
    byId("share").disabled = !whole;
    byId("share").hidden = !this.#info?.storage;
  }

  /** Draws at most once a frame, however fast the text comes. */
  #refreshSoon() {
    this.#drawing ||= requestAnimationFrame(() => this.#refresh());
  }

  #refresh() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    for (const view of this.#views) {
      view.refresh();
      view.previewThreshold(this.#form.threshold);
    }
    this.#comparison?.refresh();
    this.#follow();
  }

  /** Keeps the step that is being written in view, until the person scrolls. */
  #follow() {
    const [view, another] = this.#views;
    if (!this.#following || !view || another) return;
    const below = view.element.getBoundingClientRect().bottom + 16 - window.innerHeight;
    if (below > 0) window.scrollBy(0, below);
  }

  /**
   * Opens a trajectory of a file or a link.
   *
   * @param {string} name
   * @param {() => Trajectory} read
   */
  #open(name, read) {
    if (this.#stopping) return this.#notice.show("Stop the running answer before you open another one.");
    try {
      const trajectory = read();
      this.#notice.clear();
      if (trajectory.question) this.#form.question = trajectory.question;
      this.#show(trajectory);
      this.#showModels({ models: trajectory.models, names: {} });
      this.#views[0]?.title.focus();
      this.#say(`Opened ${name}. ${trajectory.runs.map(endNews).join(" ")}`);
    } catch (error) {
      this.#notice.show(`${name} cannot be opened. ${error instanceof Error ? error.message : ""}`);
    }
  }

  async #openLink() {
    const id = LINK.exec(location.hash)?.[1];
    if (!id) return;
    try {
      const value = await this.#withKey(() => this.#server.load(id));
      this.#open("The linked trajectory", () => fromDocument(value));
    } catch (error) {
      if (error instanceof Fault && error.kind === "missing")
        this.#notice.show("The linked trajectory is not stored on this server: it was never stored, or was removed since.");
      else this.#tell(error, () => this.#openLink());
    }
  }

  #forgetLink() {
    if (LINK.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
  }

  #document() {
    return this.#shown && toDocument(this.#shown, this.#info?.version ?? "");
  }

  #download() {
    const value = this.#document();
    if (value) download(value, fileName(value.question));
  }

  async #share() {
    const value = this.#document();
    if (!value) return;
    try {
      const id = await this.#withKey(() => this.#server.store(value));
      history.replaceState(null, "", `#trajectory=${id}`);
      byId("link").hidden = false;
      byId("link-address").value = location.href;
      byId("link-address").select();
      const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
      this.#say(copied ? "Link copied." : "Link made: copy it from the field.");
      byId("link-note").textContent = copied ? "Copied." : "Copy it from here.";
    } catch (error) {
      this.#tell(error, () => this.#share());
    }
  }

  /**
   * Does what needs the server's key, and asks for it where the server wants one.
   *
   * @template T
   * @param {() => Promise<T>} act
   * @returns {Promise<T>}
   */
  async #withKey(act) {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (!(error instanceof Fault) || error.kind !== "key") throw error;
        await this.#askKey(this.#server.key ? error.message : "");
      }
    }
  }

  /** One prompt, however many runs want the key. @param {string} [error] */
  #askKey(error = "") {
    this.#keyAsked ??= this.#prompt.ask(error).then((key) => {
      this.#keyAsked = null;
      if (key === null) throw new Fault("refused", "This server needs a key, and none was given.");
      this.#server.key = key;
    });
    return this.#keyAsked;
  }

  /** One countdown, however many runs wait. @param {Fault} fault @param {AbortSignal} signal */
  #wait(fault, signal) {
    this.#waiting ??= this.#notice
      .wait(`The server is busy: ${fault.message.replace(/[.\s]+$/, "")}.`, fault.waitSeconds ?? 5, signal)
      .finally(() => (this.#waiting = null));
    return this.#waiting;
  }

  /** @param {{models: Record<string, string | null>, names?: Record<string, string>}} info */
  #showModels({ models, names }) {
    for (const role of ROLES) {
      const place = byId(`model-${role}`);
      place.textContent = names?.[role] || models[role] || "";
      place.title = models[role] ?? "";
      place.closest("li").hidden = Object.keys(models).length > 0 && !models[role];
    }
  }

  /** @param {unknown} error @param {() => void} again */
  #tell(error, again) {
    if (!(error instanceof Fault)) console.error(error);
    const message = error instanceof Error ? error.message : String(error);
    this.#notice.show(message, [{ label: "Try again", act: again }]);
  }

  /** @param {string} news for screen readers. */
  #say(news) {
    byId("status").textContent = news;
  }
}
