// Draws the charts of a report.  All charts over time share one view (a stretch of time and a cursor): whatever moves it
// draws all of them again.  Times are µs after the start of the page.  Nothing is fetched, nothing is stored.
"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const SECOND = 1e6, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
  const MARKS = {
    "buy-maker": ["▲", 1, true], "buy-taker": ["△", 1, false],
    "sell-maker": ["▼", -1, true], "sell-taker": ["▽", -1, false],
  };
  const ROOM = { right: 10, top: 8, bottom: 22 };

  // ------------------------------------------------------------------------------------------------- data and numbers

  function numbers(base64, Kind) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new Kind(bytes.buffer);
  }

  // How many items of the ascending array are below x.
  function below(array, x) {
    let low = 0, high = array.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (array[middle] < x) low = middle + 1; else high = middle;
    }
    return low;
  }

  // Decimals that multiples of `step`, a number of one or two figures, need.
  function decimals(step) {
    let digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const scaled = step * 10 ** digits;
    if (scaled < 9.5 && Math.abs(scaled - Math.round(scaled)) > 1e-6) digits += 1;
    return Math.min(10, digits);
  }

  function figure(value, digits) {
    const text = value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (/[1-9]/.test(text) ? text : text.replace("-", "")).replace("-", "−");
  }

  function niceStep(span, count) {
    const raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999);
  }

  function timeStep(span, count) {
    const steps = [1, 2, 5, 10, 15, 30].map((n) => n * SECOND)
      .concat([1, 2, 5, 10, 15, 30].map((n) => n * MINUTE), [1, 2, 3, 6, 12].map((n) => n * HOUR),
        [1, 2, 5, 10, 30, 90, 180, 365].map((n) => n * DAY));
    const raw = span / count;
    return raw < SECOND ? niceStep(span, count) : steps.find((step) => step >= raw) || niceStep(span, count);
  }

  // A time (µs since 1970) as text; only as fine as `step` asks for.
  function clock(us, step) {
    const text = new Date(Math.floor(us / 1000)).toISOString();
    if (step >= DAY) return text.slice(0, 10);
    if (step >= MINUTE) return text.slice(11, 16);
    if (step >= SECOND) return text.slice(11, 19);
    const micros = String(Math.floor(us) % 1e6).padStart(6, "0");
    return text.slice(11, 19) + "." + micros.slice(0, Math.min(6, decimals(step / SECOND)));
  }

  const fullTime = (us) => {
    const text = new Date(Math.floor(us / 1000)).toISOString();
    return `${text.slice(0, 10)} ${text.slice(11, 19)}.${String(Math.floor(us) % 1e6).padStart(6, "0")} UTC`;
  };

  // --------------------------------------------------------------------------------------------------------- colours

  const probe = document.createElement("i");
  document.body.append(probe);
  probe.hidden = true;

  function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }

  function palette() {
    const out = {};
    for (const name of ["paper", "panel", "ink", "soft", "rule", "strong-rule", "blind", "focus"]) out[name] = colour(name);
    out.series = Array.from({ length: 8 }, (_, k) => colour(`c${k}`));
    return out;
  }

  // ---------------------------------------------------------------------------------------------------------- canvas

  // A context in CSS pixels, cleared, with its size.
  function prepared(canvas) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const width = Math.max(1, Math.round(box.width)), height = Math.max(1, Math.round(box.height));
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = `11.5px ${getComputedStyle(document.body).fontFamily}`;
    return { g, width, height };
  }

  function rule(g, x1, y1, x2, y2, stroke) {
    g.strokeStyle = stroke;
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
    g.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5);
    g.stroke();
  }

  // A triangle that points up (way 1) or down (−1) with its tip at (x, y).
  function triangle(g, x, y, way, size, filled, ink, paper) {
    g.beginPath();
    g.moveTo(x, y);
    g.lineTo(x - size, y + way * size * 1.7);
    g.lineTo(x + size, y + way * size * 1.7);
    g.closePath();
    g.fillStyle = filled ? ink : paper;
    g.fill();
    g.strokeStyle = filled ? paper : ink;
    g.lineWidth = filled ? 0.8 : 1.4;
    g.stroke();
  }

  // The labelled values of a scale from y.from to y.to: [value, text] each.
  function labels(y, pixels) {
    const step = niceStep(y.to - y.from, Math.max(4, pixels / 44)), digits = decimals(step), out = [];
    for (let k = Math.ceil(y.from / step); k * step <= y.to; k++) out.push([k * step, figure(k * step, digits)]);
    return out;
  }

  // Pixels that the widest label needs.
  const widest = (g, marks) => Math.max(40, ...marks.map(([, text]) => g.measureText(text).width + 12));

  // Rules and labels of both axes, the chart beginning at `left`; returns the mapping from data to pixels.
  function axes(g, size, left, x, y, marks) {
    const right = size.width - ROOM.right, top = ROOM.top, bottom = size.height - ROOM.bottom;
    const X = (t) => left + (t - x.from) / (x.to - x.from) * (right - left);
    const Y = (v) => bottom - (v - y.from) / (y.to - y.from) * (bottom - top);
    g.textBaseline = "middle";
    g.textAlign = "right";
    for (const [value, text] of marks) {
      rule(g, left, Y(value), right, Y(value), value === 0 ? colours["strong-rule"] : colours.rule);
      g.fillStyle = colours.soft;
      g.fillText(text, left - 7, Y(value));
    }
    g.textBaseline = "top";
    g.textAlign = "center";
    const pace = timeStep(x.to - x.from, Math.max(2, (right - left) / 92));
    for (let k = Math.ceil((x.from + x.start) / pace); k * pace - x.start <= x.to; k++) {
      const at = X(k * pace - x.start), label = clock(k * pace, pace), half = g.measureText(label).width / 2;
      rule(g, at, bottom, at, bottom + 4, colours["strong-rule"]);
      g.fillStyle = colours.soft;
      if (at + half <= size.width && at - half >= 0) g.fillText(label, at, bottom + 7);
    }
    return { X, Y, left, right, top, bottom };
  }

  // ------------------------------------------------------------------------------------------------------ shared view

  const SPAN = Math.max(1, DATA.last - DATA.first);
  const LEAST_SPAN = Math.min(SPAN, 1000);
  const view = { from: 0, to: SPAN, cursor: null, select: null };
  const charts = [];
  let colours = palette(), planned = false;

  function show(from, to) {
    const span = Math.min(SPAN, Math.max(LEAST_SPAN, to - from));
    view.from = Math.min(SPAN - span, Math.max(0, (from + to - span) / 2));
    view.to = view.from + span;
    redraw();
  }

  // Make the view `factor` times as wide; the time `about` stays where it is.
  function zoom(factor, about) {
    const span = Math.min(SPAN, Math.max(LEAST_SPAN, (view.to - view.from) * factor));
    const part = (about - view.from) / (view.to - view.from);
    show(about - part * span, about + (1 - part) * span);
  }

  const pan = (part) => {
    const by = Math.max(-view.from, Math.min(SPAN - view.to, part * (view.to - view.from)));
    show(view.from + by, view.to + by);
  };

  function point(t) {
    view.cursor = t === null ? null : Math.min(SPAN, Math.max(0, t));
    if (t !== null && view.cursor < view.from) pan((view.cursor - view.from) / (view.to - view.from));
    if (t !== null && view.cursor > view.to) pan((view.cursor - view.to) / (view.to - view.from));
    redraw();
  }

  const middle = () => (view.cursor !== null && view.cursor >= view.from && view.cursor <= view.to
    ? view.cursor : (view.from + view.to) / 2);

  // What the view covers, in words.
  function shown() {
    const [from, to] = [view.from, view.to].map((t) => fullTime(DATA.first + t).slice(0, 19));
    return `${from} – ${from.slice(0, 10) === to.slice(0, 10) ? to.slice(11) : to} UTC`;
  }

  function redraw() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      const left = Math.max(0, ...charts.map((chart) => chart.prepare()));  // the same for all, so that times align
      for (const chart of charts) chart.draw(left);
      const when = document.getElementById("when");
      if (when) when.textContent = view.cursor === null ? shown() : fullTime(DATA.first + view.cursor);
    });
  }

  // --------------------------------------------------------------------------------------------------- one time chart

  class TimeChart {
    constructor(place, data) {
      this.place = place;
      this.canvas = place.querySelector("canvas");
      this.spans = numbers(data.spans, Float64Array);
      this.series = data.series.map((each) => ({
        ...each, t: numbers(each.t, Float64Array), v: numbers(each.v, Float64Array), mark: MARKS[each.style],
      }));
      this.places = data.places ?? this.series.reduce((most, each) => Math.max(most, places(each)), 0);
      this.legend();
      listen(this);
    }

    // Names with their colours; the values at the cursor are filled in by `draw`.
    legend() {
      const list = this.place.querySelector(".legend");
      for (const each of this.series) {
        if (each.style === "faint") continue;
        const item = document.createElement("span"), swatch = document.createElement("i");
        if (each.mark) {
          swatch.textContent = each.mark[0] + " ";
          swatch.style.fontStyle = "normal";
          swatch.style.color = `var(--c${each.colour})`;
        } else {
          const band = each.style === "low" || each.style === "high";
          swatch.className = `swatch c${each.colour}${band ? " band" : ""}`;
        }
        each.readout = document.createElement("b");
        const thinned = each.of ? ` (${each.t.length.toLocaleString("en-US")} of ${each.of.toLocaleString("en-US")} points)` : "";
        item.title = thinned ? "first, least, greatest and last of each stretch of time" : "";
        item.append(swatch, `${each.name}${thinned} `, each.readout);
        list.append(item);
      }
    }

    // Indices of the points to draw: those in view and one on either side.
    visible(each) {
      return [Math.max(0, below(each.t, view.from) - 1), Math.min(each.t.length, below(each.t, view.to) + 1)];
    }

    range() {
      let low = Infinity, high = -Infinity;
      for (const each of this.series) {
        const [first, end] = this.visible(each);
        const [a, b] = each.mark ? [below(each.t, view.from), below(each.t, view.to)] : [first, end];
        for (let i = a; i < b; i++) {
          if (each.v[i] < low) low = each.v[i];
          if (each.v[i] > high) high = each.v[i];
        }
        if (each.style === "area") high = Math.max(high, 0);
      }
      if (low > high) [low, high] = [0, 1];
      const size = Math.max(Math.abs(low), Math.abs(high)), flatline = high - low <= 1e-9 * size || size < 1e-12;
      const pad = flatline ? size * 0.01 + 1e-6 : (high - low) * 0.07;
      const flat = this.series.some((each) => each.style === "area");
      return { from: low - pad, to: flat ? high + pad * 0.2 : high + pad };
    }

    // Clear the canvas and choose the scale; returns the pixels that its labels need.
    prepare() {
      this.size = prepared(this.canvas);
      this.y = this.range();
      this.marksY = labels(this.y, this.size.height - ROOM.top - ROOM.bottom);
      return widest(this.size.g, this.marksY);
    }

    draw(margin) {
      const g = this.size.g, x = { from: view.from, to: view.to, start: DATA.first };
      this.frame = axes(g, this.size, margin, x, this.y, this.marksY);
      const { X, left, right, top, bottom } = this.frame;
      g.save();
      g.beginPath();
      g.rect(left, top - 2, right - left, bottom - top + 4);
      g.clip();
      g.fillStyle = colours.blind;
      for (let k = 0; k < this.spans.length; k += 2) {
        const from = X(this.spans[k]), to = Math.max(X(this.spans[k + 1]), from + 1);
        if (to >= left && from <= right) g.fillRect(from, top, to - from, bottom - top);
      }
      this.band(g);
      for (const each of this.series) if (each.style === "faint") this.path(g, each);
      for (const each of this.series) if (!each.mark && !["faint", "low", "high"].includes(each.style)) this.path(g, each);
      for (const each of this.series) if (each.mark) this.marks(g, each);
      this.cursor(g);
      g.restore();
      this.place.dataset.from = view.from;
      this.place.dataset.to = view.to;
    }

    // A line through the points; of those in one column of pixels the first, the extremes and the last.
    path(g, each) {
      const { X, Y, left, right } = this.frame, [first, end] = this.visible(each);
      const step = each.style === "step";
      if (end <= first) return;
      g.beginPath();
      let x = X(each.t[first]), y = Y(each.v[first]), low = y, high = y, column = Math.round(x);
      const begin = x;
      g.moveTo(x, y);
      for (let i = first + 1; i < end; i++) {
        const nextX = X(each.t[i]), nextY = Y(each.v[i]), nextColumn = Math.round(nextX);
        if (nextColumn !== column) {
          if (low !== high) { g.lineTo(x, low); g.lineTo(x, high); g.lineTo(x, y); }
          if (step) g.lineTo(nextX, y);
          g.lineTo(nextX, nextY);
          low = high = nextY;
          column = nextColumn;
        } else {
          low = Math.min(low, nextY);
          high = Math.max(high, nextY);
        }
        x = nextX;
        y = nextY;
      }
      if (low !== high) { g.lineTo(x, low); g.lineTo(x, high); g.lineTo(x, y); }
      g.lineJoin = "round";
      g.lineWidth = each.style === "faint" ? 1 : 1.5;
      g.strokeStyle = each.style === "faint" ? colours["strong-rule"] : colours.series[each.colour];
      g.globalAlpha = each.style === "faint" ? 0.4 : 1;
      g.stroke();
      g.globalAlpha = 1;
      if (each.style !== "area") return;
      g.lineTo(Math.min(x, right), Y(0));
      g.lineTo(Math.max(begin, left), Y(0));
      g.globalAlpha = 0.22;
      g.fillStyle = colours.series[each.colour];
      g.fill();
      g.globalAlpha = 1;
    }

    // The area between the series "low" and "high": in each column of pixels from the least to the greatest value.
    band(g) {
      const low = this.series.find((each) => each.style === "low");
      const high = this.series.find((each) => each.style === "high");
      if (!low || !high) return;
      const { X, Y, left, right } = this.frame;
      g.fillStyle = colours.series[low.colour];
      g.globalAlpha = 0.22;
      const edge = (each, choose) => {
        const out = [], [first, end] = this.visible(each);
        let i = first, held = each.v[first];
        for (let x = Math.floor(left); x <= right; x++) {
          let value = held;
          for (; i < end && X(each.t[i]) <= x + 1; i++) { held = each.v[i]; value = choose(value, held); }
          out.push([x, Y(value)]);
        }
        return out;
      };
      g.beginPath();
      for (const [x, y] of edge(high, Math.max)) g.lineTo(x, y);
      for (const [x, y] of edge(low, Math.min).reverse()) g.lineTo(x, y);
      g.closePath();
      g.fill();
      g.globalAlpha = 1;
    }

    marks(g, each) {
      const { X, Y } = this.frame, first = below(each.t, view.from), end = below(each.t, view.to);
      const many = end - first > 400, [, way, filled] = each.mark;
      for (let i = first; i < end; i++) {
        const x = X(each.t[i]), y = Y(each.v[i]);
        if (many) {
          g.fillStyle = colours.series[each.colour];
          g.fillRect(x - 1, y - 1, 2, 2);
        } else {
          triangle(g, x, y, way, 4.5, filled, colours.series[each.colour], colours.paper);
        }
      }
    }

    cursor(g) {
      const { X, Y, top, bottom } = this.frame;
      if (view.select) {
        const [from, to] = view.select.map(X);
        g.globalAlpha = 0.15;
        g.fillStyle = colours.focus;
        g.fillRect(from, top, to - from, bottom - top);
        g.globalAlpha = 1;
      }
      const at = view.cursor;
      if (at !== null) rule(g, X(at), top, X(at), bottom, colours["strong-rule"]);
      for (const each of this.series) {
        if (!each.readout) continue;
        const i = at === null ? each.t.length - 1 : below(each.t, at + 0.5) - 1;
        const far = each.mark && (at === null || i < 0 || X(at) - X(each.t[i]) > 12);
        each.readout.textContent = i < 0 || far ? "" : figure(each.v[i], this.places);
        if (at === null || each.mark || i < 0) continue;
        g.fillStyle = colours.series[each.colour];
        g.beginPath();
        g.arc(X(at), Y(valueAt(each, i, at)), 3, 0, 7);
        g.fill();
      }
    }
  }

  // Where the line of a series passes at time `at`, after its point i.
  function valueAt(each, i, at) {
    if (each.style === "step" || i + 1 >= each.t.length) return each.v[i];
    return each.v[i] + (each.v[i + 1] - each.v[i]) * (at - each.t[i]) / (each.t[i + 1] - each.t[i]);
  }

  // Decimals that tell the values of a series apart.
  function places(each) {
    let low = Infinity, high = -Infinity;
    for (const value of each.v) { if (value < low) low = value; if (value > high) high = value; }
    const whole = each.v.every(Number.isInteger);
    return whole || !(high >= low) ? 0 : decimals(Math.max(high - low, Math.abs(high) * 1e-6, 1e-9) / 1000);
  }

  // ------------------------------------------------------------------------------------------------------ interaction

  function listen(chart) {
    const canvas = chart.canvas, touches = new Map();
    let start = null;
    const time = (event) => {
      const { left, right } = chart.frame;
      const x = event.clientX - canvas.getBoundingClientRect().left;
      return view.from + (Math.min(right, Math.max(left, x)) - left) / (right - left) * (view.to - view.from);
    };
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;  // the page scrolls
      event.preventDefault();
      if (event.shiftKey) pan((event.deltaY || event.deltaX) / 1000);
      else zoom(Math.exp(event.deltaY * 0.002), time(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      touches.set(event.pointerId, event);
      start = time(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = touches.get(event.pointerId);
      if (!before) {
        if (event.pointerType !== "touch") point(time(event));
      } else if (event.pointerType !== "touch") {
        view.select = [start, time(event)].sort((a, b) => a - b);
        point(time(event));
      } else if (touches.size === 1) {
        pan((before.clientX - event.clientX) / (chart.frame.right - chart.frame.left));
      } else {
        const other = [...touches.values()].find((each) => each.pointerId !== event.pointerId);
        const gap = (a) => Math.max(8, Math.abs(a.clientX - other.clientX));
        zoom(gap(before) / gap(event), (time(event) + time(other)) / 2);
      }
      if (before) touches.set(event.pointerId, event);
    });
    const end = (event) => {
      touches.delete(event.pointerId);
      const chosen = view.select;
      view.select = null;
      const wide = chosen && chosen[1] - chosen[0] > (view.to - view.from) * 0.008;
      if (event.type === "pointerup" && wide) show(chosen[0], chosen[1]);
      else if (event.type === "pointerup") point(time(event));
      else redraw();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => { if (!touches.size) point(null); });
    canvas.addEventListener("dblclick", () => show(0, SPAN));
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const pixel = (view.to - view.from) / 100, way = event.key === "ArrowLeft" ? -1 : 1;
      if (event.key === "+" || event.key === "=") zoom(0.5, middle());
      else if (event.key === "-" || event.key === "_") zoom(2, middle());
      else if (event.key === "0" || event.key === "Escape") show(0, SPAN);
      else if (event.key.startsWith("Arrow") && /Left|Right/.test(event.key)) {
        if (event.shiftKey) pan(way * 0.2); else point(middle() + way * pixel);
      } else return;
      event.preventDefault();
    });
  }

  // -------------------------------------------------------------------------------------------------------- heat maps

  class HeatMap {
    constructor(place, data) {
      this.place = place;
      this.data = data;
      this.canvas = place.querySelector("canvas");
      this.lots = numbers(data.lots, Float32Array);
      const sizes = this.lots.filter((lots) => lots > 0).sort();
      this.low = sizes[Math.floor(sizes.length * 0.05)] || 1;
      this.high = Math.max(this.low * 2, sizes[Math.floor(sizes.length * 0.995)] || 1);
      this.canvas.addEventListener("pointermove", (event) => this.read(event));
    }

    // How dark a size is drawn, in [0, 1]: by its logarithm between the usual extremes.
    share(lots) {
      const part = Math.log(lots / this.low) / Math.log(this.high / this.low);
      return 0.06 + 0.94 * Math.min(1, Math.max(0, part)) ** 2;
    }

    // The cells as a picture of one pixel each.
    picture() {
      const { rows, columns } = this.data, image = new ImageData(columns, rows);
      const parts = (name) => colour(name).match(/[\d.]+/g).slice(0, 3).map(Number);
      const from = parts("panel"), to = parts("soft");
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const lots = this.lots[row * columns + column], at = 4 * ((rows - 1 - row) * columns + column);
          const share = lots > 0 ? this.share(lots) : 0;
          for (let k = 0; k < 3; k++) image.data[at + k] = from[k] + (to[k] - from[k]) * share;
          image.data[at + 3] = Number.isNaN(lots) ? 0 : 255;
        }
      }
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [columns, rows];
      canvas.getContext("2d").putImageData(image, 0, 0);
      return canvas;
    }

    draw() {
      const d = this.data, size = prepared(this.canvas), g = size.g;
      const price = (ticks) => ticks * d.tick;
      const y = { from: price(d.low - 0.5), to: price(d.low + d.rows * d.each - 0.5) };
      const marks = labels(y, size.height - ROOM.top - ROOM.bottom);
      this.frame = axes(g, size, widest(g, marks), { from: 0, to: d.span, start: d.first }, y, marks);
      const { X, Y, left, right, top, bottom } = this.frame;
      g.fillStyle = colours.blind;
      g.fillRect(left, top, right - left, bottom - top);
      g.imageSmoothingEnabled = false;
      g.drawImage(this.picture(), left, top, right - left, bottom - top);
      g.save();
      g.beginPath();
      g.rect(left, top, right - left, bottom - top);
      g.clip();
      for (const side of [0, 1]) this.touch(g, side);
      for (const [from, to, ticks, side] of d.quotes) {
        const at = Y(price(ticks)), ink = colours.series[side > 0 ? 0 : 1];
        for (const [wide, stroke] of [[5, colours.paper], [3, ink]]) {
          g.strokeStyle = stroke;
          g.lineWidth = wide;
          g.beginPath();
          g.moveTo(X(from), at);
          g.lineTo(Math.max(X(to), X(from) + 1), at);
          g.stroke();
        }
      }
      for (const [time, ticks, side, maker] of d.fills) {
        triangle(g, X(time), Y(price(ticks)), side, 5.5, Boolean(maker), colours.series[side > 0 ? 0 : 1], colours.paper);
      }
      g.restore();
    }

    // Best bid (side 0) or ask (1) over time.
    touch(g, side) {
      const d = this.data, { X, Y } = this.frame, step = d.span / d.columns;
      g.strokeStyle = colours.ink;
      g.lineWidth = 1;
      g.beginPath();
      let drawing = false;
      d.touch.forEach((each, column) => {
        if (each === null) { drawing = false; return; }
        const y = Y(each[side] * d.tick);
        if (drawing) g.lineTo(X(column * step), y); else g.moveTo(X(column * step), y);
        g.lineTo(X((column + 1) * step), y);
        drawing = true;
      });
      g.stroke();
    }

    // Time, price and size under the pointer.
    read(event) {
      const d = this.data, { left, right, top, bottom } = this.frame, box = this.canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left - left) / (right - left) * d.columns);
      const row = Math.floor((bottom - (event.clientY - box.top)) / (bottom - top) * d.rows);
      const inside = column >= 0 && column < d.columns && row >= 0 && row < d.rows;
      const lots = inside ? this.lots[row * d.columns + column] : NaN;
      const from = figure((d.low + row * d.each) * d.tick, decimals(d.tick));
      const to = d.each > 1 ? " to " + figure((d.low + (row + 1) * d.each - 1) * d.tick, decimals(d.tick)) : "";
      this.place.querySelector("output").textContent = Number.isNaN(lots) ? "" :
        `${clock(d.first + (column + 1) * d.span / d.columns, 1000)}  ${from}${to}: ${figure(lots * d.lot, decimals(d.lot))}`;
    }
  }

  // ------------------------------------------------------------------------------------------------- tables and theme

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    const key = (row, k) => {
      const text = row.cells[k].dataset.key ?? row.cells[k].textContent;
      const value = Number(text.replace(/[,\s%]/g, "").replace("−", "-"));
      return text === "" || Number.isNaN(value) ? text : value;
    };
    heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      const rows = [...body.rows].sort((a, b) => way * order(key(a, k), key(b, k)));
      body.append(...rows);
    }));
  }

  for (const place of document.querySelectorAll("figure.time")) {
    charts.push(new TimeChart(place, DATA.charts[Number(place.dataset.chart)]));
  }
  const maps = [...document.querySelectorAll("figure.heat")].map((place) => new HeatMap(place, DATA.heat[Number(place.dataset.heat)]));
  document.querySelectorAll("table.sortable").forEach(sortable);

  function repaint() {
    colours = palette();
    for (const map of maps) map.draw();
    redraw();
  }

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement, now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    repaint();
  });
  dark.addEventListener("change", repaint);
  document.getElementById("tools")?.addEventListener("click", (event) => {
    const wish = event.target.dataset.do;
    if (wish === "in") zoom(0.5, middle());
    else if (wish === "out") zoom(2, middle());
    else if (wish === "all") show(0, SPAN);
  });
  new ResizeObserver(repaint).observe(document.body);
  repaint();
})();
