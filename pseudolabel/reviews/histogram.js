"use strict";
// The histogram of a class's scores, drawn from counts: clips with the label upwards, clips without it downwards.

const SVG = "http://www.w3.org/2000/svg";
const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
const CHART = { width: 380, height: 184, left: 8, right: 372, top: 34, middle: 96, bottom: 158 };

// Return the drawing and its caption.
function histogram(counts, [lowest, highest], name, score, threshold) {
  const drawing = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img" });
  const total = (values) => values.reduce((sum, value) => sum + value, 0).toLocaleString("en");
  const across = (odds) => {
    const part = (Math.min(Math.max(odds, lowest), highest) - lowest) / (highest - lowest);
    return CHART.left + part * (CHART.right - CHART.left);
  };
  const at = (p) => across(Math.log(p / (1 - p)));
  for (const [kind, direction] of [["with", -1], ["without", 1]]) {
    const most = Math.max(...counts[kind], 1);
    const room = direction < 0 ? CHART.middle - CHART.top : CHART.bottom - CHART.middle;
    const step = (highest - lowest) / counts[kind].length;
    counts[kind].forEach((count, bin) => {
      if (!count) return;
      const height = Math.max((count / most) * room, 1.5);
      const left = across(lowest + bin * step);
      const width = across(lowest + (bin + 1) * step) - left - 1;
      const y = direction < 0 ? CHART.middle - height : CHART.middle;
      drawing.append(svg("rect", { class: kind, x: left, y, width, height }));
    });
  }
  drawing.append(svg("line", { class: "axis", x1: CHART.left, x2: CHART.right, y1: CHART.middle, y2: CHART.middle }));
  for (const tick of TICKS) {
    drawing.append(svg("line", { class: "axis", x1: at(tick), x2: at(tick), y1: CHART.bottom + 2, y2: CHART.bottom + 6 }));
    drawing.append(svg("text", { x: at(tick), y: CHART.bottom + 18, "text-anchor": "middle" }, String(tick)));
  }
  const marks = [["threshold", threshold, 12], ["score", score, 26]].filter((mark) => mark[1] !== null);
  for (const [kind, value, y] of marks) {
    const x = at(value);
    drawing.append(svg("line", { class: kind, x1: x, x2: x, y1: y - 4, y2: CHART.bottom }));
    const [anchor, shift] = x > CHART.width / 2 ? ["end", -5] : ["start", 5];
    const words = { class: kind, x: x + shift, y, "text-anchor": anchor };
    drawing.append(svg("text", words, `${kind === "score" ? "this clip" : "threshold"} ${shown(value)}`));
  }
  const caption = document.createElement("figcaption");
  const [above, below] = [total(counts.with), total(counts.without)];
  caption.append(key("with"), ...nodes`${above} clips with “${bdi(name)}” (up) `, key("without"), `${below} without (down)`);
  const values = marks.map(([kind, value]) => `${kind} ${shown(value)}`).join(", ");
  drawing.setAttribute("aria-label", `Scores of ${above} clips with and ${below} without \u2068${name}\u2069; ${values}`);
  return [drawing, caption];
}

function svg(kind, attributes, text) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

function key(kind) {
  const patch = document.createElement("i");
  patch.className = kind;
  return patch;
}

// Return a score with its meaningful digits.
function shown(value) {
  return value >= 0.9995 || value < 0.0005 ? value.toPrecision(2) : value.toFixed(3);
}
