// The picture and its boxes on one canvas. A picture is drawn only with the message of its number.

const KEPT_MESSAGES = 64;

export class Picture {
  constructor(canvas, drawn) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.drawn = drawn;
    this.threshold = 0.5;
    this.noun = "faces";
    this.messages = new Map();
    this.shown = null;
    this.waiting = null;
    new ResizeObserver(() => this.#draw()).observe(canvas); // lines and letters keep their size
  }

  forget() {
    this.messages.clear();
    this.waiting = null;
  }

  message(facts) {
    this.messages.set(facts.frame, facts);
    if (this.messages.size > KEPT_MESSAGES) this.messages.delete(this.messages.keys().next().value);
    if (this.waiting?.number === facts.frame) this.#show(this.waiting, facts);
  }

  async picture(number, blob, received) {
    const bitmap = await createImageBitmap(blob);
    const picture = { number, bitmap, received };
    const facts = this.messages.get(number);
    this.waiting?.bitmap.close();
    this.waiting = null;
    if (facts) this.#show(picture, facts);
    else this.waiting = picture;
  }

  setThreshold(threshold) {
    this.threshold = threshold;
    this.#draw();
  }

  facesOf(facts) {
    return (facts.faces ?? facts.boxes ?? []).filter((face) => face.score >= this.threshold);
  }

  #show(picture, facts) {
    this.waiting = null;
    this.shown?.bitmap.close();
    this.shown = { ...picture, facts };
    this.#draw();
    requestAnimationFrame(() => this.drawn(facts, picture.received, performance.now()));
  }

  #draw() {
    if (!this.shown) return;
    const { bitmap, facts } = this.shown;
    const { canvas, context } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    context.drawImage(bitmap, 0, 0);
    const scale = bitmap.width / facts.width;
    const faces = this.facesOf(facts);
    // On a phone the canvas is shown smaller than it is: lines and letters grow with that.
    const shrunk = Math.max(1, canvas.width / Math.max(1, canvas.clientWidth));
    faces.forEach((face) => this.#box(face, scale, shrunk));
    canvas.dataset.frame = facts.frame;
    canvas.dataset.faces = faces.length;
    const one = this.noun === "faces" ? "face" : "box";
    const many = faces.length === 1 ? `1 ${one}` : `${faces.length} ${this.noun}`;
    const label = `Live picture, ${facts.words ?? many}`;
    if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
  }

  #box({ box, score, label, points, class: kind }, scale, shrunk) {
    const [left, top, right, bottom] = box.map((edge) => edge * scale);
    const { context } = this;
    const line = 2.5 * shrunk;
    context.lineWidth = line + 2 * shrunk;
    context.strokeStyle = "rgba(0, 0, 0, 0.6)";
    context.strokeRect(left, top, right - left, bottom - top);
    context.lineWidth = line;
    const colour = kind ? `hsl(${(120 + 222.5 * kind) % 360} 85% 60%)` : "#2ee67a";
    context.strokeStyle = context.fillStyle = colour;
    context.strokeRect(left, top, right - left, bottom - top);
    for (const [x, y] of points ?? []) context.fillRect(x * scale - line, y * scale - line, 2 * line, 2 * line);
    if (right - left < 24 * shrunk) return; // the score would hide a small face's neighbours
    const size = 13 * shrunk;
    context.font = `600 ${size}px system-ui, sans-serif`;
    const text = label === undefined ? score.toFixed(2) : `${label} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + 8 * shrunk;
    const beside = Math.max(0, Math.min(left - line / 2, this.canvas.width - width));
    const above = top > size + 6 * shrunk ? top - size - 6 * shrunk : top;
    context.fillStyle = "rgba(0, 0, 0, 0.75)";
    context.fillRect(beside, above, width, size + 6 * shrunk);
    context.fillStyle = kind ? colour : "#8dffb9";
    context.fillText(text, beside + 4 * shrunk, above + size + shrunk);
  }
}
