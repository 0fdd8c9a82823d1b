"use strict";
// Judgements: kept in this browser, undone, written as CSV and read again. Nothing here touches the page.

const DECISIONS = ["right", "wrong", "unsure"];
const COLUMNS = ["page", "item", "clip_id", "class_id", "error", "decision", "judge"];
const MOST_STEPS = 2000; // that can be undone

class Judgements {
  constructor(content) {
    this.content = content;
    this.key = `pseudolabel-review-${content.page}`;
    this.items = new Map(content.items.map((item) => [item.item, item]));
    this.keeps = true; // whether the browser lets us keep anything
    this.read();
  }

  // Restore what the browser has kept for this page.
  read() {
    let stored = {};
    try {
      stored = Object(JSON.parse(localStorage.getItem(this.key)));
      this.keeps = true;
    } catch {
      this.keeps = false;
    }
    const known = ([item, judgement]) => this.items.has(item) && DECISIONS.includes(judgement?.decision);
    this.made = new Map(Object.entries(Object(stored.judgements)).filter(known));
    this.steps = Array.isArray(stored.steps) ? stored.steps : []; // each a list of [item, its judgement before, or null]
    this.settings = { ...stored.settings };
  }

  keep() {
    const judgements = Object.fromEntries(this.made);
    try {
      localStorage.setItem(this.key, JSON.stringify({ judgements, steps: this.steps, settings: this.settings }));
      this.keeps = true;
    } catch {
      this.keeps = false;
    }
  }

  set(name, value) {
    this.settings[name] = value;
    this.keep();
  }

  decisionOf(item) {
    return this.made.get(item)?.decision || "";
  }

  counts() {
    const counts = Object.fromEntries(DECISIONS.map((decision) => [decision, 0]));
    for (const judgement of this.made.values()) counts[judgement.decision] += 1;
    return counts;
  }

  // Judge items, [[item, judgement], ...], as one step of undo.
  judge(judgements) {
    this.steps.push(judgements.map(([item]) => [item, this.made.get(item) || null]));
    this.steps.splice(0, this.steps.length - MOST_STEPS);
    for (const [item, judgement] of judgements) this.made.set(item, judgement);
    this.keep();
  }

  // Undo the last step; return its items, none where there is nothing to undo.
  undo() {
    const step = this.steps.pop() || [];
    for (const [item, before] of step) {
      if (before) this.made.set(item, before);
      else this.made.delete(item);
    }
    this.keep();
    return step.map(([item]) => item);
  }

  csv() {
    const lines = [COLUMNS];
    for (const item of this.content.items) {
      const judgement = this.made.get(item.item);
      if (!judgement) continue;
      const clipId = this.content.clips[item.clip].clip_id;
      const judge = judgement.judge || this.settings.judge || "";
      const about = [this.content.page, item.item, clipId, item.class_id, item.error || ""];
      lines.push([...about, judgement.decision, judge]);
    }
    return lines.map((fields) => fields.map(quoted).join(",") + "\n").join("");
  }

  // Take over the judgements of a downloaded file; return how many. Throws where they are not of this page.
  load(text) {
    const [header, ...rows] = parsedCsv(text);
    for (const name of ["page", "item", "clip_id", "class_id", "decision"]) {
      if (!header || !header.includes(name)) throw new Error(`The file has no column “${name}”.`);
    }
    const width = Math.max(...[...this.items.keys()].map((name) => name.length));
    const judgements = rows.map((fields, number) => {
      const row = Object.fromEntries(header.map((name, column) => [name, fields[column] || ""]));
      const item = this.items.get(row.item.padStart(width, "0")); // spreadsheets write 0001 as 1
      const decision = row.decision.trim().toLowerCase();
      const place = `Row ${number + 2}`;
      if (row.page !== this.content.page) {
        throw new Error(`${place} is of page “${row.page}”; this is page “${this.content.page}”.`);
      }
      if (!item || this.content.clips[item.clip].clip_id !== row.clip_id || item.class_id !== row.class_id) {
        throw new Error(`${place} is not about an item of this page.`);
      }
      if (!DECISIONS.includes(decision)) throw new Error(`${place}: “${row.decision}” is not a decision.`);
      return [item.item, { decision, judge: row.judge || "" }];
    });
    if (judgements.length) this.judge(judgements);
    return judgements.length;
  }
}

function quoted(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Return the rows of a CSV file (RFC 4180; also with CRLF and a byte order mark), empty lines left out.
function parsedCsv(text) {
  const rows = [];
  let fields = [];
  const pattern = /("(?:[^"]|"")*"|[^,\r\n"]*)(,|\r?\n|$)/y;
  const source = text.replace(/^\ufeff/, "");
  while (pattern.lastIndex < source.length) {
    const start = pattern.lastIndex;
    const match = pattern.exec(source);
    if (!match) throw new Error(`The file is not CSV near “${source.slice(start, start + 20)}”.`);
    const [, field, end] = match;
    fields.push(field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end === ",") continue;
    if (fields.length > 1 || fields[0]) rows.push(fields);
    fields = [];
  }
  if (fields.length) rows.push([...fields, ""]);
  return rows;
}
