// Puts the parts of the page together.

import { Link } from "./link.js";
import { Picture } from "./picture.js";
import { Latencies, PARTS, plot } from "./plot.js";

const byId = (id) => document.getElementById(id);
const TITLES = {
  waiting: "waiting for the detector",
  detecting: "running the network",
  encoding: "rest of the JPEG encoding",
  sending: "sending to this browser",
  drawing: "drawing",
};

const latencies = new Latencies();
const state = { connected: null, camera: { status: "starting", message: "" }, keepsSnapshots: false, counts: true };

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showStatus() {
  const { connected, camera } = state;
  const isPaused = byId("pause").getAttribute("aria-pressed") === "true";
  let [kind, text, notice] = ["good", "Live", camera.message && `The camera ${camera.message}`];
  if (connected === null) [kind, text, notice] = ["waiting", "Connecting", ""];
  else if (!connected) [kind, text, notice] = ["bad", "Connection lost", "The board does not answer. Trying again."];
  else if (camera.status === "lost") [kind, text, notice] = ["bad", "Camera lost", `Camera ${camera.name}: ${camera.message}. Trying again.`];
  else if (camera.status === "starting") [kind, text] = ["waiting", "Waiting for the camera"];
  else if (camera.status === "ended") [kind, text, notice] = ["waiting", "Ended", `Camera ${camera.name}: ${camera.message}`];
  else if (isPaused) [kind, text] = ["waiting", "Paused"];
  byId("status").className = `status ${kind}`;
  setText(byId("status-text"), text);
  setText(byId("notice"), notice ?? "");
  byId("notice").hidden = !notice;
}

function drawn(facts, received, painted) {
  const { times } = facts;
  const since = link.clock.sinceMs(facts.taken, received);
  if (since === null) return;
  const onBoard = times.waiting + times.detecting + times.encoding;
  latencies.add({ ...times, sending: Math.max(0, since - onBoard), drawing: painted - received }, painted);
  document.documentElement.dataset.drawn = facts.frame;
}

function showFigures() {
  const now = performance.now();
  const recent = latencies.recent(now);
  const facts = picture.shown?.facts;
  setText(byId("faces"), facts && state.counts ? String(picture.facesOf(facts).length) : "–");
  setText(byId("words"), facts?.words ?? "");
  setText(byId("rate"), recent ? recent.rate.toFixed(1) : "–");
  setText(byId("latency"), recent ? recent.total.toFixed(0) : "–");
  for (const part of PARTS) {
    setText(byId(`ms-${part}`), recent ? `${recent.means[part].toFixed(1)} ms` : "–");
  }
  setText(byId("ms-total"), recent ? `${recent.total.toFixed(1)} ms` : "–");
  plot(byId("plot"), latencies, now);
  if (recent) {
    const parts = PARTS.map((part) => `${TITLES[part]} ${recent.means[part].toFixed(0)}`).join(", ");
    byId("plot").setAttribute("aria-label", `Latency in milliseconds: ${parts}; together ${recent.total.toFixed(0)}`);
  }
}

function showBoard({ celsius, throttled, now, before }) {
  setText(byId("celsius"), celsius === null ? "–" : celsius.toFixed(0));
  byId("celsius-unit").hidden = celsius === null;
  const note = byId("throttled");
  note.classList.toggle("bad", now.length > 0);
  const calm = before.length ? `Earlier: ${before.join(", ")}` : "Not throttled";
  const known = throttled === null ? (celsius === null ? "No sensor" : "") : calm;
  setText(note, now.length ? now.join(", ") : known);
}

function makeLegend() {
  const row = (name, title, swatch) => {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    if (swatch) {
      const mark = document.createElement("span");
      mark.className = `swatch ${name}`;
      head.append(mark);
    }
    head.append(title);
    const value = document.createElement("td");
    value.id = `ms-${name}`;
    value.textContent = "–";
    line.append(head, value);
    return line;
  };
  byId("legend").append(...PARTS.map((part) => row(part, TITLES[part], true)), row("total", "together", false));
}

function setThreshold(value) {
  byId("threshold").value = value;
  setText(byId("threshold-value"), Number(byId("threshold").value).toFixed(2));
  picture.setThreshold(Number(byId("threshold").value));
}

async function snapshot() {
  const blob = await new Promise((resolve) => byId("picture").toBlob(resolve, "image/jpeg", 0.92));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${picture.noun}-${picture.shown.facts.frame}.jpg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  let said = "Snapshot saved by this browser.";
  if (state.keepsSnapshots) {
    try {
      const answer = await fetch("/snapshot", { method: "POST" });
      said += answer.ok ? ` The board keeps ${(await answer.json()).name}.` : ` But ${(await answer.text()).trim()}`;
    } catch {
      said += " But the board does not answer.";
    }
  }
  setText(byId("said"), said);
}

async function readSettings() {
  const settings = await (await fetch("/settings")).json();
  byId("threshold").min = settings.lowest;
  setThreshold(settings.threshold);
  state.keepsSnapshots = settings.keeps_snapshots;
  state.counts = settings.counts;
  const noun = settings.noun, title = `Live ${noun}`;
  picture.noun = noun;
  document.title = title;
  setText(byId("title"), title);
  setText(byId("noun"), noun[0].toUpperCase() + noun.slice(1));
  byId("threshold-noun").textContent = noun;
  byId("slider").hidden = byId("count-tile").hidden = !settings.counts;
  const meaning = `its ${noun === "faces" ? "boxes" : noun} mean nothing`;
  setText(byId("about"), settings.model + (settings.trained ? "" : ` (untrained: ${meaning})`));
}

const picture = new Picture(byId("picture"), drawn);
const link = new Link({
  hello: ({ run }) => {
    if (state.run && state.run !== run) picture.forget();
    if (state.run !== run) readSettings().catch(() => {});
    state.run = run;
  },
  message: (facts) => picture.message(facts),
  camera: (camera) => { state.camera = camera; showStatus(); },
  board: showBoard,
  picture: (number, blob, received) => picture.picture(number, blob, received),
  connected: (connected) => { state.connected = connected; showStatus(); },
});

byId("threshold").addEventListener("input", (event) => setThreshold(event.target.value));
byId("pause").addEventListener("click", (event) => {
  const isPaused = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", String(isPaused));
  link.pause(isPaused);
  showStatus();
});
byId("snapshot").addEventListener("click", () => {
  if (picture.shown) snapshot();
  else setText(byId("said"), "There is no picture yet.");
});
makeLegend();
showStatus();
setInterval(showFigures, 500);
link.start();
