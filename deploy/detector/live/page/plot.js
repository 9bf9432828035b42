// Latency by part: a mean for each second, stacked, over the last minutes.

export const PARTS = ["waiting", "detecting", "encoding", "sending", "drawing"];
const SECONDS = 180;
const FIRST_SECONDS = 60; // the plot's span until there is more to show
const RECENT_MS = 5000;
const MARGIN = { left: 34, right: 4, top: 12, bottom: 18 };

export class Latencies {
  #second = null;
  #seconds = new Map();
  #recent = [];

  add(parts, now) {
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#seconds.set(second, { count: 0, sums: Object.fromEntries(PARTS.map((part) => [part, 0])) });
      for (const old of this.#seconds.keys()) {
        if (old >= second - SECONDS) break;
        this.#seconds.delete(old);
      }
    }
    const entry = this.#seconds.get(second);
    entry.count += 1;
    for (const part of PARTS) entry.sums[part] += parts[part];
    this.#recent.push({ parts, now });
  }

  recent(now) {
    // The means of the last seconds, their sum, and pictures a second; null if there were none.
    while (this.#recent.length && now - this.#recent[0].now > RECENT_MS) this.#recent.shift();
    const count = this.#recent.length;
    if (!count) return null;
    const means = Object.fromEntries(
      PARTS.map((part) => [part, this.#recent.reduce((sum, each) => sum + each.parts[part], 0) / count]),
    );
    const total = PARTS.reduce((sum, part) => sum + means[part], 0);
    const span = (now - this.#recent[0].now) / 1000;
    return { means, total, rate: count > 1 ? count / Math.max(span, 0.2) : 0 };
  }

  seconds(now) {
    const current = Math.floor(now / 1000);
    const found = [];
    for (const [second, { count, sums }] of this.#seconds) {
      if (second === current) continue; // not over yet
      found.push({ age: current - second, means: PARTS.map((part) => sums[part] / count) });
    }
    return found;
  }
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

export function plot(canvas, latencies, now) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const seconds = latencies.seconds(now);
  const totals = seconds.map(({ means }) => means.reduce((sum, mean) => sum + mean, 0)).sort((a, b) => a - b);
  const top = roundUp(1.1 * (totals[Math.floor(0.98 * (totals.length - 1))] ?? 50));
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const span = seconds.some(({ age }) => age > FIRST_SECONDS) ? SECONDS : FIRST_SECONDS;
  const x = (age) => MARGIN.left + inner.width * (1 - age / span);
  const y = (ms) => MARGIN.top + inner.height * (1 - Math.min(ms, top) / top);
  const bar = Math.max(1, inner.width / span + 0.5);
  for (const { age, means } of seconds) {
    let below = 0;
    means.forEach((mean, index) => {
      context.fillStyle = color(PARTS[index]);
      context.fillRect(x(age), y(below + mean), bar, y(below) - y(below + mean));
      below += mean;
    });
  }
  grid(context, color, { top, span, x, y, inner });
}

function grid(context, color, { top, span, x, y, inner }) {
  context.strokeStyle = color("line");
  context.lineWidth = 1;
  context.fillStyle = color("muted");
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const ms of [0, top / 2, top]) {
    const at = Math.round(y(ms)) + 0.5;
    context.beginPath();
    context.moveTo(MARGIN.left, at);
    context.lineTo(MARGIN.left + inner.width, at);
    context.stroke();
    context.fillText(String(ms), MARGIN.left - 5, at);
  }
  context.textBaseline = "top";
  for (let age = 0; age <= span; age += span / 3) {
    context.textAlign = age === span ? "left" : age === 0 ? "right" : "center";
    const ago = span === SECONDS ? `−${age / 60} min` : `−${age} s`;
    context.fillText(age ? ago : "now", x(age), y(0) + 5);
  }
}
