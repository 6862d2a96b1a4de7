/* One plane: paints its slice, labels and boxes on a canvas. Lengths on screen are true to scale. */

class View {
  constructor(figure, plane, study, state) {
    Object.assign(this, { figure, plane, study, state });
    this.canvas = figure.querySelector("canvas");
    this.slider = figure.querySelector("input[type=range]");
    this.caption = figure.querySelector("output");
    this.depth = study.shape[plane.normal];
    this.rows = study.shape[plane.row];
    this.columns = study.shape[plane.column];
    this.heightMm = this.rows * study.spacing[plane.row];
    this.widthMm = this.columns * study.spacing[plane.column];
    this.tile = new OffscreenCanvas(this.columns, this.rows);
    this.pixels = new ImageData(this.columns, this.rows);
    this.inside = new Uint8Array(this.rows * this.columns);
  }

  /* Byte offset of the slice's first pixel and the steps down and to the right. */
  walk() {
    const { plane, study, state } = this;
    const down = study.strides[plane.row];
    const start = state.index[plane.normal] * study.strides[plane.normal];
    return plane.flipped
      ? { start: start + (this.rows - 1) * down, down: -down, right: study.strides[plane.column] }
      : { start, down, right: study.strides[plane.column] };
  }

  /* Screen row or column of a (fractional) index, in pixels of the slice. */
  rowOf(index) {
    return this.plane.flipped ? this.rows - 1 - index[this.plane.row] : index[this.plane.row];
  }

  draw() {
    const { canvas, state } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const scale = Math.min(width / state.extentMm.width, height / state.extentMm.height);
    const w = this.widthMm * scale;
    const h = this.heightMm * scale;
    this.frame = { x: (width - w) / 2, y: (height - h) / 2, sx: w / this.columns, sy: h / this.rows, ratio, scale };
    this.paintPixels();
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.tile, this.frame.x, this.frame.y, w, h);
    if (state.cross && this.depth > 1) this.drawCross(context);
    if (state.overlay) {
      this.drawOutlines(context);
      this.drawBoxes(context);
    }
    if (this.study.placed) this.drawScaleBar(context, height);
    this.tell();
  }

  paintPixels() {
    const { rows, columns, study, state } = this;
    const { start, down, right } = this.walk();
    const out = this.pixels.data;
    const channels = state.image.channels;
    const colour = channels.length === 3;
    for (let y = 0, p = 0; y < rows; y++) {
      for (let x = 0, i = start + y * down; x < columns; x++, i += right, p += 4) {
        const grey = state.greys[channels[0][i]];
        out[p] = grey;
        out[p + 1] = colour ? state.greys[channels[1][i]] : grey;
        out[p + 2] = colour ? state.greys[channels[2][i]] : grey;
        out[p + 3] = 255;
      }
    }
    if (state.overlay && state.opacity > 0) {
      state.tints.forEach((tint, layer) => this.blend(study.labels[layer], tint, start, down, right));
    }
    this.tile.getContext("2d").putImageData(this.pixels, 0, 0);
  }

  blend(labels, tint, start, down, right) {
    const out = this.pixels.data;
    for (let y = 0, p = 0; y < this.rows; y++) {
      for (let x = 0, i = start + y * down; x < this.columns; x++, i += right, p += 4) {
        const t = labels[i] * 4;
        const alpha = tint[t + 3];
        if (!alpha) continue;
        out[p] += (tint[t] - out[p]) * alpha;
        out[p + 1] += (tint[t + 1] - out[p + 1]) * alpha;
        out[p + 2] += (tint[t + 2] - out[p + 2]) * alpha;
      }
    }
  }

  drawOutlines(context) {
    const { rows, columns, inside, study, state } = this;
    const { start, down, right } = this.walk();
    context.lineWidth = 1.25 * this.frame.ratio;
    context.lineJoin = "round";
    study.structures.forEach((structure, number) => {
      if (structure.empty || !state.shown[number]) return;
      const labels = study.labels[structure.layer];
      let any = 0;
      for (let y = 0, p = 0; y < rows; y++) {
        for (let x = 0, i = start + y * down; x < columns; x++, i += right, p++) any |= inside[p] = structure.member[labels[i]];
      }
      if (!any) return;
      context.strokeStyle = structure.colour;
      context.stroke(this.outline());
    });
  }

  /* Edges between pixels inside and outside, runs joined. */
  outline() {
    const { rows, columns, inside } = this;
    const { x: left, y: top, sx, sy } = this.frame;
    const path = new Path2D();
    const at = (y, x) => (y < 0 || x < 0 || y >= rows || x >= columns ? 0 : inside[y * columns + x]);
    for (let y = 0; y <= rows; y++) {
      for (let x = 0, from = -1; x <= columns; x++) {
        const edge = x < columns && at(y, x) !== at(y - 1, x);
        if (edge && from < 0) from = x;
        if (edge || from < 0) continue;
        path.moveTo(left + from * sx, top + y * sy);
        path.lineTo(left + x * sx, top + y * sy);
        from = -1;
      }
    }
    for (let x = 0; x <= columns; x++) {
      for (let y = 0, from = -1; y <= rows; y++) {
        const edge = y < rows && at(y, x) !== at(y, x - 1);
        if (edge && from < 0) from = y;
        if (edge || from < 0) continue;
        path.moveTo(left + x * sx, top + from * sy);
        path.lineTo(left + x * sx, top + y * sy);
        from = -1;
      }
    }
    return path;
  }

  drawBoxes(context) {
    const { plane, state, frame, study } = this;
    const size = 12 * frame.ratio;
    context.font = `600 ${size}px system-ui, sans-serif`;
    for (const box of study.boxes) {
      if (!state.kinds[box.kind] || !inSlices(box, plane.normal, state.index[plane.normal])) continue;
      const rows = [this.rowOf(box.low), this.rowOf(box.high)].sort((a, b) => a - b);
      const x = frame.x + (box.low[plane.column] + 0.5) * frame.sx;
      const y = frame.y + (rows[0] + 0.5) * frame.sy;
      context.strokeStyle = box.colour;
      context.lineWidth = 2 * frame.ratio;
      context.strokeRect(x, y, (box.high[plane.column] - box.low[plane.column]) * frame.sx, (rows[1] - rows[0]) * frame.sy);
      const text = box.score === null ? box.name : `${box.name} ${Math.round(box.score * 100)} %`;
      const base = y - frame.y > 1.6 * size ? y - 0.45 * size : y + (rows[1] - rows[0]) * frame.sy + 1.2 * size;
      context.fillStyle = "rgba(0, 0, 0, 0.6)";
      context.fillRect(x - frame.ratio, base - size, context.measureText(text).width + 0.7 * size, 1.4 * size);
      context.fillStyle = box.colour;
      context.fillText(text, x + 0.3 * size, base);
    }
  }

  drawCross(context) {
    const { frame, plane, state } = this;
    const x = frame.x + (state.index[plane.column] + 0.5) * frame.sx;
    const y = frame.y + (this.rowOf(state.index) + 0.5) * frame.sy;
    const gap = 9 * frame.ratio;
    const right = frame.x + this.columns * frame.sx;
    const bottom = frame.y + this.rows * frame.sy;
    context.strokeStyle = "rgba(255, 255, 255, 0.4)";
    context.lineWidth = frame.ratio;
    context.beginPath();
    const lines = [[frame.x, y, x - gap, y], [x + gap, y, right, y], [x, frame.y, x, y - gap], [x, y + gap, x, bottom]];
    for (const [x0, y0, x1, y1] of lines) {
      if (x1 < x0 || y1 < y0) continue;
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
  }

  /* As long as fits a third of the panel, with a tick per centimetre. */
  drawScaleBar(context, height) {
    const { ratio, scale } = this.frame;
    const room = this.canvas.width / 3 / scale;
    const lengthMm = [200, 100, 50, 20, 10, 5, 2, 1].find((mm) => mm <= room) || 1;
    const x = 10 * ratio;
    const y = height - 10 * ratio;
    context.strokeStyle = context.fillStyle = "rgba(255, 255, 255, 0.8)";
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    context.moveTo(x, y - 4 * ratio);
    context.lineTo(x, y);
    context.lineTo(x + lengthMm * scale, y);
    context.lineTo(x + lengthMm * scale, y - 4 * ratio);
    context.stroke();
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.fillText(lengthMm >= 10 ? `${lengthMm / 10} cm` : `${lengthMm} mm`, x + 4 * ratio, y - 5 * ratio);
  }

  tell() {
    const at = this.state.index[this.plane.normal];
    const text = this.depth > 1 ? `${at + 1} / ${this.depth}` : "";
    if (this.slider) this.slider.value = at;
    this.caption.value = text;
    this.canvas.setAttribute("aria-label", `${this.canvas.dataset.title}${text ? `, slice ${text}` : ""}`);
  }

  /* Voxel index under a pointer. */
  pick(event) {
    const box = this.canvas.getBoundingClientRect();
    const { plane, frame, study } = this;
    const x = ((event.clientX - box.left) * frame.ratio - frame.x) / frame.sx - 0.5;
    const y = ((event.clientY - box.top) * frame.ratio - frame.y) / frame.sy - 0.5;
    const index = [...this.state.index];
    index[plane.column] = x;
    index[plane.row] = plane.flipped ? this.rows - 1 - y : y;
    return index.map((v, axis) => Math.min(Math.max(Math.round(v), 0), study.shape[axis] - 1));
  }
}
