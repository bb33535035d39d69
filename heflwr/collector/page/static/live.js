// When to ask again. The collector says that something came (Server-Sent Events), or is asked in turn where it cannot;
// never while the last answer is under way, never for more than a quarter of the time, never in a hidden tab.

import { LoginNeeded, Unreachable } from "./api.js";

const SOONEST_MS = 1000;
const SHARE = 4; // an answer that took t is not asked for again before 4 t
const POLL_MS = 3000; // without events
const IDLE_MS = 15_000; // with events and none came: clients fall silent, too
const RETRY_MS = [1000, 2000, 5000];
const LISTEN_AGAIN_MS = 30_000;

/**
 * Calls `refresh(signal)` and tells what came of it as events: "state" (this.state is loading, live, paused, fixed,
 * disconnected or login) and "failure" (event.error: what the collector refused).
 */
export class Live extends EventTarget {
  #refresh;
  #events = null;
  #timer = 0;
  #running = null;
  #tries = 0;
  #last = { ended: 0, took: 0 };
  #listenAt = 0;
  #paused = false;
  #follows = true;
  state = "loading";
  /** When the next try after a failure is due, by performance.now(). */
  retryAt = 0;
  /** What the last failure was, in words. */
  trouble = "";
  /** When the last answer came, Unix milliseconds of this machine. */
  heard = 0;

  constructor(refresh) {
    super();
    this.#refresh = refresh;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && !this.#paused && this.#follows) this.#schedule(0);
    });
    addEventListener("online", () => this.state === "disconnected" && this.now());
  }

  get paused() {
    return this.#paused;
  }

  pause(paused) {
    this.#paused = paused;
    if (!paused) return this.now();
    if (this.state !== "live") return undefined; // it rests once it has an answer
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
    return this.#set("paused");
  }

  /** A range that does not end now is asked for once. */
  follow(follows) {
    this.#follows = follows;
  }

  /** Ask now, whatever the schedule says: the user changed something. */
  now() {
    this.#running?.abort();
    this.#running = null;
    this.#tries = 0;
    this.#schedule(0);
  }

  stop() {
    this.#running?.abort();
    this.#running = null;
    clearTimeout(this.#timer);
    this.#events?.close();
    this.#events = null;
  }

  #schedule(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), wait);
  }

  async #run() {
    if (this.#running || (document.hidden && this.state !== "loading")) return;
    const mine = new AbortController();
    this.#running = mine;
    const began = performance.now();
    let failure = null;
    try {
      await this.#refresh(mine.signal);
    } catch (error) {
      failure = error;
    }
    if (mine.signal.aborted) return; // somebody asked for something else meanwhile
    this.#running = null;
    const ended = performance.now();
    this.#last = { ended, took: ended - began };
    if (failure) this.#failed(failure);
    else this.#went();
  }

  #went() {
    this.#tries = 0;
    this.heard = Date.now();
    this.#set(this.#paused ? "paused" : this.#follows ? "live" : "fixed");
    if (this.#paused || !this.#follows) return;
    this.#listen();
    this.#schedule(this.#due(this.#events ? IDLE_MS : POLL_MS));
  }

  #failed(error) {
    if (error instanceof LoginNeeded) {
      this.stop();
      this.#set("login");
    } else if (error instanceof Unreachable) {
      this.#events?.close();
      this.#events = null;
      this.#listenAt = 0;
      const wait = RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)];
      this.#tries += 1;
      this.retryAt = performance.now() + wait;
      this.trouble = error.message;
      this.#set("disconnected");
      this.#schedule(wait);
    } else {
      this.dispatchEvent(Object.assign(new Event("failure"), { error }));
      this.#schedule(IDLE_MS);
    }
  }

  #listen() {
    if (this.#events || performance.now() < this.#listenAt) return;
    const events = new EventSource("api/v1/events");
    this.#events = events;
    events.addEventListener("update", () => {
      if (!this.#paused && this.#follows && !this.#running) this.#schedule(this.#due(0));
    });
    events.addEventListener("error", () => {
      // Too many listen already, or the collector went: polling finds out which.
      events.close();
      if (this.#events !== events) return;
      this.#events = null;
      this.#listenAt = performance.now() + LISTEN_AGAIN_MS;
      if (!this.#paused && this.#follows && !this.#running) this.#schedule(this.#due(0));
    });
  }

  #due(wanted) {
    const earliest = this.#last.ended + Math.max(SOONEST_MS, SHARE * this.#last.took);
    return Math.max(wanted, earliest - performance.now());
  }

  #set(state) {
    if (state === this.state && state !== "disconnected" && state !== "login") return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
