"use strict";
// Tables of classes that sort and filter. Without this script they are plain tables.

const numberOf = (text) => parseFloat(text.replaceAll(",", "").replace("+", "")); // ".41 ± .02": .41; "-": NaN

class SortedTable {
  // Give a table buttons in its header, and fields above it that choose which rows are shown.
  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.heads = [...table.tHead.rows[0].cells];
    this.lines = [...this.body.rows].map((row) => ({ row, texts: [...row.cells].map((cell) => cell.textContent) }));
    this.isText = this.heads.map((head) => head.classList.contains("text"));
    this.nWords = this.isText.filter(Boolean).length;
    for (const [column, head] of this.heads.entries()) this.addButton(column, head);
    this.addFields();
    this.filter();
  }

  addButton(column, head) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => this.sort(column));
    head.append(button);
  }

  addFields() {
    const fields = document.createElement("div");
    fields.className = "fields";
    this.words = this.field(fields, "Filter", "search", "words of a name or id");
    const clips = this.heads.findIndex((head) => /^(clips|given)$/.test(head.textContent));
    if (clips >= 0) {
      this.counted = clips;
      this.least = this.field(fields, `At least this many ${this.heads[clips].textContent}`, "number", "");
      this.least.min = 0;
    }
    this.said = document.createElement("span");
    this.said.setAttribute("role", "status");
    fields.append(this.said);
    this.table.parentElement.before(fields);
  }

  field(fields, name, type, hint) {
    const [label, input] = [document.createElement("label"), document.createElement("input")];
    Object.assign(input, { type, placeholder: hint });
    input.addEventListener("input", () => this.filter());
    label.append(`${name} `, input);
    fields.append(label);
    return input;
  }

  // Sort by a column: words from A, numbers from the largest; once more, the other way round. Cells without come last.
  sort(column) {
    const before = this.heads[column].getAttribute("aria-sort");
    const first = this.isText[column] ? "ascending" : "descending";
    const next = before === first ? (first === "ascending" ? "descending" : "ascending") : first;
    for (const head of this.heads) head.removeAttribute("aria-sort");
    this.heads[column].setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const compare = this.isText[column]
      ? (a, b) => sign * a.texts[column].localeCompare(b.texts[column], "en")
      : (a, b) => {
        const [one, other] = [numberOf(a.texts[column]), numberOf(b.texts[column])];
        return isNaN(one) || isNaN(other) ? isNaN(one) - isNaN(other) : sign * (one - other);
      };
    this.lines.sort(compare);
    this.body.append(...this.lines.map((line) => line.row));
  }

  filter() {
    const words = this.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = this.least?.value ? Number(this.least.value) : -Infinity;
    let n = 0;
    for (const line of this.lines) {
      const text = line.texts.slice(0, this.nWords).join(" ").toLowerCase();
      const fits = words.every((word) => text.includes(word)) && !(numberOf(line.texts[this.counted] || "0") < least);
      line.row.hidden = !fits;
      n += fits;
    }
    const all = this.lines.length.toLocaleString("en");
    this.said.textContent = `${n === this.lines.length ? "" : `${n.toLocaleString("en")} of `}${all} classes`;
  }
}

for (const table of document.querySelectorAll("table.sorts")) new SortedTable(table);
