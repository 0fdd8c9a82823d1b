"use strict";
// Two rows of the evaluation, class by class: how many classes gain, a point for each, and a table.

class Comparison {
  constructor(content, place) {
    this.content = content;
    this.place = place;
    const fields = made("div", { className: "fields" });
    this.first = this.select(fields, "From", "from");
    this.second = this.select(fields, "to", "to");
    this.set = this.select(fields, "labels", "against");
    this.set.append(...content.sets.map((set, number) => new Option(set.word, number)));
    this.set.parentElement.hidden = content.sets.length < 2;
    this.said = made("p", { role: "status" });
    this.drawn = made("div", { className: "scatter" });
    this.listed = made("div", {});
    place.append(fields, this.said, this.drawn, this.listed);
    this.fill(...content.chosen);
    this.set.addEventListener("change", () => this.fill(this.first.value, this.second.value));
    for (const select of [this.first, this.second]) select.addEventListener("change", () => this.show());
  }

  select(fields, name, id) {
    const label = made("label", {});
    const select = made("select", { id: `compare-${id}` });
    label.append(`${name} `, select);
    fields.append(label);
    return select;
  }

  // Offer the rows that were measured against the chosen labels.
  fill(first, second) {
    const names = this.content.sets[Number(this.set.value)].rows.map(([name]) => name);
    for (const [select, wanted, other] of [[this.first, first, names[0]], [this.second, second, names.at(-1)]]) {
      select.replaceChildren(...names.map((name) => new Option(name, name)));
      select.value = names.includes(wanted) ? wanted : other;
    }
    this.show();
  }

  // Return {name, id, clips, from, to, change} of every class that has AP in both rows.
  classes() {
    const set = this.content.sets[Number(this.set.value)];
    const ap = new Map(set.rows);
    const [from, to] = [ap.get(this.first.value), ap.get(this.second.value)];
    const all = this.content.classes.map(([name, id], k) => ({
      name, id, clips: set.clips[k], from: from[k], to: to[k], change: to[k] - from[k],
    }));
    return all.filter((one) => one.from !== null && one.to !== null);
  }

  show() {
    const classes = this.classes().sort((a, b) => b.change - a.change);
    const count = (fits) => classes.filter((one) => fits(one.change)).length;
    const mean = classes.reduce((sum, one) => sum + one.change, 0) / (classes.length || 1);
    const without = this.content.classes.length - classes.length;
    this.said.textContent =
      `From ${this.first.value} to ${this.second.value}: AP rises in ${plural(count((c) => c > 0), "class", "classes")}, ` +
      `falls in ${count((c) => c < 0)}, is the same in ${count((c) => c === 0)}; mean change ${this.signed(mean)}.` +
      (without ? ` ${plural(without, "class", "classes")} without AP.` : "");
    this.draw(classes);
    this.list(classes);
  }

  value(steps) {
    return (steps / this.content.steps).toFixed(3).replace(/^(-?)0\./, "$1.");
  }

  signed(steps) {
    const text = this.value(steps);
    return text.startsWith("-") ? text : `+${text}`;
  }

  // Draw a point for each class: above the diagonal it gains.
  draw(classes) {
    const size = 300;
    const [left, bottom] = [44, 40];
    const at = (from, to) => ({ cx: left + (size * from) / this.content.steps, cy: 8 + size - (size * to) / this.content.steps });
    const svg = shape("svg", { viewBox: `0 0 ${left + size + 12} ${size + 8 + bottom}`, role: "img" });
    svg.setAttribute("aria-label", `AP of each class: ${this.first.value} from left to right, ${this.second.value} from bottom to top`);
    svg.append(shape("rect", { x: left, y: 8, width: size, height: size, class: "frame" }));
    svg.append(shape("line", { x1: left, y1: 8 + size, x2: left + size, y2: 8, class: "equal" }));
    for (const tick of [0, 0.5, 1]) {
      const word = String(tick).replace(/^0\./, ".");
      svg.append(shape("text", { x: left + size * tick, y: size + 22, "text-anchor": "middle" }, word));
      svg.append(shape("text", { x: left - 5, y: 12 + size - size * tick, "text-anchor": "end" }, word));
    }
    svg.append(shape("text", { x: left + size / 2, y: size + 40, "text-anchor": "middle" }, `AP, ${this.first.value}`));
    const turned = `rotate(-90 12 ${8 + size / 2})`;
    svg.append(shape("text", { x: 12, y: 8 + size / 2, "text-anchor": "middle", transform: turned }, `AP, ${this.second.value}`));
    for (const one of classes) {
      const point = shape("circle", { ...at(one.from, one.to), r: 3.5, class: one.change < 0 ? "less" : "more" });
      point.append(shape("title", {}, `${one.name}: ${this.value(one.from)}, ${this.value(one.to)}`));
      svg.append(point);
    }
    this.drawn.replaceChildren(svg);
  }

  list(classes) {
    const table = made("table", { className: "sorts" });
    const head = table.createTHead().insertRow();
    const names = ["class", "id", "clips", this.first.value, this.second.value, "change"];
    for (const [column, name] of names.entries()) {
      head.append(made("th", { scope: "col", className: column < 2 ? "text" : column === 5 ? "change" : "", textContent: name }));
    }
    const widest = Math.max(1, ...classes.map((one) => Math.abs(one.change)));
    const body = table.createTBody();
    for (const one of classes) {
      const row = body.insertRow();
      const cells = [one.name, one.id, one.clips.toLocaleString("en"), this.value(one.from), this.value(one.to)];
      for (const [column, text] of cells.entries()) {
        row.append(made("td", { className: column < 2 ? "text" : "", textContent: text }));
      }
      const bar = made("i", { className: one.change < 0 ? "less" : "more" });
      bar.style.width = `${(4 * Math.abs(one.change)) / widest}rem`;
      const cell = made("td", { className: "change" });
      cell.append(this.signed(one.change), bar);
      row.append(cell);
    }
    const box = made("div", { className: "wide tall", role: "group", tabIndex: 0, ariaLabel: "AP of every class in both rows" });
    box.append(table);
    this.listed.replaceChildren(box);
    new SortedTable(table);
  }
}

function made(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function shape(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function plural(n, one, more) {
  return `${n} ${n === 1 ? one : more}`;
}

const compared = document.getElementById("comparison-content");
if (compared) new Comparison(JSON.parse(compared.textContent), document.getElementById("compare"));
