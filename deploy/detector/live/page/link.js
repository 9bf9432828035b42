// The connection to the board: messages by server-sent events, pictures one at a time as fast as
// they are drawn, and the board's clock.

const CLOCK_EVERY_MS = 10000;
const CLOCK_ASKS = 5;
const LONGEST_MS = 15000; // without a word from the board: the connection is lost

export class Clock {
  // Board's monotonic seconds for a time of performance.now(): the offset of the quickest of some
  // questions, for half of its way is the largest error.
  #offset = null;

  async set() {
    let best = Infinity;
    for (let ask = 0; ask < CLOCK_ASKS; ask += 1) {
      const asked = performance.now();
      const { seconds } = await (await fetch("/clock")).json();
      const heard = performance.now();
      if (heard - asked < best) {
        best = heard - asked;
        this.#offset = seconds * 1000 - (asked + heard) / 2;
      }
    }
  }

  sinceMs(boardSeconds, now) {
    return this.#offset === null ? null : now + this.#offset - boardSeconds * 1000;
  }
}

export class Link {
  // Calls handlers.hello, .message, .camera, .board, .picture (number, blob, received) and
  // .connected (true or false). It never gives up.
  constructor(handlers) {
    this.handlers = handlers;
    this.clock = new Clock();
    this.known = 0;
    this.isPaused = false;
    this.isUp = false;
  }

  start() {
    this.#listen();
    this.#look();
    this.#setClock();
    document.addEventListener("visibilitychange", () => this.#wake?.());
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    this.#wake?.();
  }

  #wake = null;

  #listen() {
    const events = new EventSource("/events");
    const parsed = (handler) => (event) => handler(JSON.parse(event.data));
    let heard = performance.now();
    const beat = () => { heard = performance.now(); };
    events.onopen = () => { beat(); this.#connected(true); };
    events.onmessage = (event) => { beat(); this.handlers.message(JSON.parse(event.data)); };
    for (const name of ["hello", "camera", "board"]) {
      events.addEventListener(name, beat);
      events.addEventListener(name, parsed(this.handlers[name]));
    }
    const again = () => {
      clearInterval(watch);
      events.close();
      this.#connected(false);
      fetch("/clock").then((answer) => answer.status === 401 && location.reload()).catch(() => {});
      setTimeout(() => this.#listen(), 1000);
    };
    events.onerror = again;
    const watch = setInterval(() => { if (performance.now() - heard > LONGEST_MS) again(); }, 5000);
  }

  #connected(isUp) {
    this.isUp = isUp;
    this.handlers.connected(isUp);
    this.#wake?.();
  }

  async #look() {
    for (;;) {
      if (this.isPaused || document.hidden || !this.isUp) {
        await new Promise((resolve) => { this.#wake = resolve; });
        continue;
      }
      try {
        const limit = { signal: AbortSignal.timeout(LONGEST_MS) };
        const answer = await fetch(`/frame.jpg?after=${this.known}`, limit);
        if (answer.status === 200) {
          const blob = await answer.blob();
          const received = performance.now();
          this.known = Number(answer.headers.get("X-Frame"));
          await this.handlers.picture(this.known, blob, received);
        } else if (answer.status !== 204) {
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  }

  async #setClock() {
    for (;;) {
      if (this.isUp && !document.hidden) await this.clock.set().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, this.isUp ? CLOCK_EVERY_MS : 500));
    }
  }
}
