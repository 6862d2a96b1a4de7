/* The viewer: state, controls and keys. Without it the page still holds every number and key image. */

const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6 };
const WHEEL_PIXELS = 40;

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Viewer {
  constructor(root, study) {
    this.root = root;
    this.study = study;
    this.state = {
      index: study.start,
      image: study.images[0],
      overlay: true,
      cross: true,
      opacity: 0.2,
      shown: study.structures.map(() => true),
      kinds: Object.fromEntries(study.boxes.map((box) => [box.kind, true])),
      greys: new Uint8Array(256),
      tints: [],
    };
    const figures = this.all("figure.view");
    this.views = figures.map((figure, i) => new View(figure, study.planes[i], study, this.state));
    this.setExtent();
    this.views.forEach((view) => this.listenTo(view));
    this.listenToTools();
    this.listenToPage();
    this.setTints();
    this.setImage(0, study.window.level, study.window.width);
  }

  all(selector) {
    return [...this.root.querySelectorAll(selector)];
  }

  /* What a panel spans: the same in every plane, so that lengths compare. */
  setExtent() {
    const width = Math.max(...this.views.map((view) => view.widthMm));
    const height = Math.max(...this.views.map((view) => view.heightMm));
    const side = Math.max(width, height);
    this.state.extentMm = this.views.length > 1 ? { width: side, height: side } : { width, height };
    if (this.views.length === 1) this.views[0].canvas.parentElement.style.aspectRatio = clamp(width / height, 0.6, 2.2);
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      for (const view of this.views) view.draw();
      this.tellPlace();
    });
  }

  setIndex(index) {
    this.state.index = index;
    this.redraw();
  }

  step(view, by) {
    const index = [...this.state.index];
    const axis = view.plane.normal;
    index[axis] = clamp(index[axis] + by, 0, view.depth - 1);
    this.setIndex(index);
  }

  setImage(number, level, width) {
    const image = this.study.images[number];
    const range = image.levels[255] - image.levels[0];
    const step = range > 50 ? 1 : range / 500;
    this.state.image = image;
    Object.assign(byId("level"), { min: image.levels[0], max: image.levels[255], step });
    Object.assign(byId("width"), { min: step, max: range, step });
    const buttons = image.windows.map((preset, i) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: preset.name, title: `Key ${i + 1}` });
      button.addEventListener("click", () => this.setWindow(preset.level, preset.width));
      return button;
    });
    byId("presets").replaceChildren(...buttons);
    this.setWindow(level ?? image.windows[0].level, width ?? image.windows[0].width);
  }

  setWindow(level, width) {
    const { image, greys } = this.state;
    const span = Math.max(width, 1e-6);
    Object.assign(this.state, { level, width: span });
    image.levels.forEach((value, i) => {
      greys[i] = clamp(Math.round(255 * ((value - level) / span + 0.5)), 0, 255);
    });
    const digits = image.levels[255] - image.levels[0] > 50 ? 0 : 2;
    for (const [id, value] of [["level", level], ["width", span]]) {
      byId(id).value = value;
      byId(`${id}-text`).value = value.toFixed(digits).replace("-", "\u2212");
    }
    [...byId("presets").children].forEach((button, i) => {
      const preset = image.windows[i];
      button.setAttribute("aria-pressed", String(preset.level === level && preset.width === width));
    });
    this.redraw();
  }

  /* Colour and opacity of each byte of each layer; where shown structures overlap, their mean. */
  setTints() {
    const { study, state } = this;
    state.tints = study.labels.map((_, layer) => {
      const tint = new Float32Array(1024);
      for (let byte = 1; byte < 256; byte++) {
        const here = study.structures.filter((s, k) => s.layer === layer && state.shown[k] && s.member[byte]);
        if (!here.length) continue;
        for (let c = 0; c < 3; c++) tint[byte * 4 + c] = here.reduce((sum, s) => sum + toRgb(s.colour)[c], 0) / here.length;
        tint[byte * 4 + 3] = state.opacity;
      }
      return tint;
    });
    this.redraw();
  }

  /* In words: position, value, and what is marked at the crosshair. */
  tellPlace() {
    const { study, state } = this;
    const offset = state.index.reduce((sum, at, axis) => sum + at * study.strides[axis], 0);
    const parts = [];
    if (study.placed) {
      const sides = toWorld(study, state.index).map((mm, axis) => `${["LR", "PA", "SI"][axis][mm < 0 ? 1 : 0]} ${Math.abs(mm).toFixed(0)}`);
      parts.push(`${sides.join(" · ")} mm`);
    }
    if (state.image.channels.length === 1) {
      const value = state.image.levels[state.image.channels[0][offset]];
      const text = Math.abs(value) >= 20 ? value.toFixed(0) : value.toPrecision(2);
      parts.push(`≈ ${text.replace("-", "\u2212")} ${state.image.unit}`.trim());
    }
    const marked = study.structures.filter((s) => s.member[study.labels[s.layer][offset]]);
    marked.push(...study.boxes.filter((box) => [0, 1, 2].every((axis) => inSlices(box, axis, state.index[axis]))));
    if (study.structures.length + study.boxes.length) parts.push(marked.map((m) => m.name).join(", ") || "nothing marked here");
    byId("place").value = parts.join("\u2003");
  }

  listenTo(view) {
    const { canvas } = view;
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.step(view, STEPS[event.key]);
    });
    canvas.addEventListener("wheel", (event) => this.roll(view, event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 0) this.setIndex(view.pick(event));
      if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => this.drag(view, event));
    view.slider?.addEventListener("input", () => this.step(view, Number(view.slider.value) - this.state.index[view.plane.normal]));
    view.figure.querySelector(".enlarge")?.addEventListener("click", () => this.enlarge(view));
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  roll(view, event) {
    if (view.depth < 2 || event.ctrlKey) return;
    event.preventDefault();
    view.rolled = (view.rolled || 0) + (event.deltaMode ? event.deltaY * WHEEL_PIXELS : event.deltaY);
    const steps = Math.trunc(view.rolled / WHEEL_PIXELS);
    view.rolled -= steps * WHEEL_PIXELS;
    if (steps) this.step(view, -steps);
  }

  drag(view, event) {
    if (event.pointerType !== "mouse") return;
    const { image, level, width } = this.state;
    const unit = (image.levels[255] - image.levels[0]) / 1000;
    if (event.buttons === 1) this.setIndex(view.pick(event));
    if (event.buttons === 2) this.setWindow(level + event.movementY * unit, width + event.movementX * unit);
  }

  enlarge(view) {
    const large = !view.figure.classList.contains("large");
    for (const other of this.views) {
      other.figure.classList.toggle("large", other === view && large);
      other.figure.querySelector(".enlarge").setAttribute("aria-pressed", String(other === view && large));
    }
  }

  listenToTools() {
    const on = (id, event, action) => byId(id)?.addEventListener(event, () => action(byId(id)));
    on("level", "input", (input) => this.setWindow(Number(input.value), this.state.width));
    on("width", "input", (input) => this.setWindow(this.state.level, Number(input.value)));
    on("image", "change", (input) => this.setImage(Number(input.value)));
    on("opacity", "input", (input) => {
      this.state.opacity = Number(input.value) / 100;
      this.setTints();
    });
    for (const id of ["overlay", "cross"]) {
      on(id, "change", (input) => {
        this.state[id] = input.checked;
        this.redraw();
      });
    }
    for (const box of this.all(".legend input")) {
      box.addEventListener("change", () => {
        if (box.dataset.structure) this.state.shown[box.dataset.structure] = box.checked;
        else this.state.kinds[box.dataset.kind] = box.checked;
        this.setTints();
      });
    }
  }

  listenToPage() {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const preset = this.state.image.windows[Number(event.key) - 1];
      if (event.key === "o") byId("overlay")?.click();
      else if (event.key === "c") byId("cross")?.click();
      else if (preset) this.setWindow(preset.level, preset.width);
    });
    for (const button of document.querySelectorAll("[data-jump]")) {
      button.addEventListener("click", () => {
        this.setIndex(button.dataset.jump.split(",").map(Number));
        const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
        this.root.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
        this.views[0].canvas.focus({ preventScroll: true });
      });
    }
  }
}

async function start() {
  const root = byId("viewer");
  if (!root) return;
  const note = byId("wait");
  if (!("DecompressionStream" in window && "OffscreenCanvas" in window)) {
    note.textContent = "This browser is too old for the viewer. Key images and numbers below are complete.";
    return;
  }
  try {
    new Viewer(root, await readStudy());
    note.remove();
  } catch (error) {
    note.textContent = "The viewer could not start. Key images and numbers below are complete.";
    throw error;
  }
}

start();
