"use strict";
// The page: shows one item at a time, takes judgements by key and button, filters, downloads.

const $ = (id) => document.getElementById(id);
const content = JSON.parse($("content").textContent);
const judgements = new Judgements(content);
const player = new Player(content, $);
const items = content.items;
const TYPES = {
  I: "Type I",
  II: "Type II",
  "I+II": "Types I and II",
  free: "guess: no label proposes it",
  given: "control: given label",
  absent: "control: nothing proposed it",
};
const ANY = "all";
let current = 0;
let waiting = false; // for sound further down in a page that is still loading
let byPointer = false; // whether the last action was by mouse or finger
let listening = false; // whether anything was done: before, browsers play nothing

const nameOf = (classId) => content.names[classId] || classId;
const quotedName = (classId) => nodes`“${bdi(nameOf(classId))}”`;
const typeOf = (item) => (item.kind === "added" ? item.error : item.kind);
const decisionOf = (item) => judgements.decisionOf(item.item);

// ---- which items are shown

function passes(item) {
  const { decision = ANY, classId = ANY, type = ANY } = judgements.settings.filter || {};
  const decided = decisionOf(item) || "undecided";
  const fits = (wanted, value) => wanted === ANY || wanted === value;
  return fits(decision, decided) && fits(classId, item.class_id) && fits(type, typeOf(item));
}

// Return the next index from `start` on, in the direction, whose item passes and is wanted; -1 where there is none.
function find(start, direction, wanted = () => true) {
  for (let index = start; index >= 0 && index < items.length; index += direction) {
    if (passes(items[index]) && wanted(items[index])) return index;
  }
  return -1;
}

function fillFilters() {
  const tally = (values) => {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return [...counts];
  };
  const option = (value, text) => {
    const made = new Option(text, value);
    made.dir = "auto"; // an option cannot contain <bdi>
    return made;
  };
  const byName = (a, b) => nameOf(a[0]).localeCompare(nameOf(b[0]), "en");
  const classes = tally(items.map((item) => item.class_id)).sort(byName);
  const rank = Object.keys(TYPES);
  const types = tally(items.map(typeOf)).sort((a, b) => rank.indexOf(a[0]) - rank.indexOf(b[0]));
  $("by-decision").append(...[ANY, "undecided", ...DECISIONS].map((value) => option(value, value)));
  $("by-class").append(option(ANY, `all (${classes.length})`));
  $("by-class").append(...classes.map(([id, n]) => option(id, `${nameOf(id)} (${n})`)));
  $("by-type").append(option(ANY, ANY), ...types.map(([type, n]) => option(type, `${TYPES[type] || type} (${n})`)));
  $("type-label").hidden = content.blind || types.length < 2;
  const chosen = { decision: ANY, classId: ANY, type: ANY, ...judgements.settings.filter };
  for (const [id, name] of [["by-decision", "decision"], ["by-class", "classId"], ["by-type", "type"]]) {
    $(id).value = chosen[name];
    if (!$(id).value) $(id).value = ANY;
    $(id).addEventListener("change", filterChanged);
  }
}

function filterChanged() {
  const filter = { decision: $("by-decision").value, classId: $("by-class").value, type: $("by-type").value };
  judgements.set("filter", filter);
  const index = passes(items[current]) ? current : Math.max(find(current, 1), find(0, 1));
  say(index < 0 ? "No item fits this filter." : "");
  show(index < 0 ? current : index);
}

// ---- one item

function show(index, play = false) {
  current = index;
  const item = items[index];
  const clip = content.clips[item.clip];
  judgements.set("item", item.item);
  $("item-name").textContent = `Item ${index + 1} of ${items.length}: do you hear this?`;
  $("question").replaceChildren(bdi(nameOf(item.class_id)));
  $("clip-id").replaceChildren(...nodes`clip ${bdi(clip.clip_id)}, class ${bdi(item.class_id)}`);
  $("why").hidden = content.blind;
  if (!content.blind) explain(item, clip);
  showSource(item, clip);
  waiting = !player.show(clip, item.window);
  refresh();
  if (play && listening && $("by-itself").checked) player.playFrom(player.from);
  const following = find(index + 1, 1);
  if (following >= 0) player.prepare(content.clips[items[following].clip]);
}

function explain(item, clip) {
  const added = (classId) => (clip.labels.includes(classId) ? [] : [" (added)"]);
  const because = listed(item.because.map((classId) => [...quotedName(classId), ...added(classId)]));
  const name = quotedName(item.class_id);
  const several = item.because.length > 1;
  const reason = {
    I: nodes`Type I, a missing child: the clip has ${because}, and ${name} is a kind of ${several ? "these" : "it"}.`,
    II: nodes`Type II, a missing parent: the clip has ${because}, ${several ? "kinds" : "a kind"} of ${name}.`,
    "I+II": nodes`Types I and II, a missing child and parent: the clip has ${because}.`,
    free: nodes`A guess from the clip's scores alone: no label of the clip proposes ${name}.`,
    given: ["A control: the original list has this label."],
    absent: ["A control: nothing proposed this label."],
  }[typeOf(item)];
  $("reason").replaceChildren(...(reason || []));
  const compared = item.threshold === null ? "" : ` ${item.score > item.threshold ? ">" : "≤"} threshold ${shown(item.threshold)}`;
  const byRule = item.kind === "added" ? "Added by rule, without a score." : "";
  const sure = item.probability === undefined ? "" : `Probability that it is right: ${shown(item.probability)}. `;
  $("score").textContent = item.score === null ? byRule : `${sure}Score ${shown(item.score)}${compared}`;
  $("labels").replaceChildren(
    ...clip.labels.map((classId) => {
      const label = document.createElement("li");
      label.append(bdi(nameOf(classId)));
      label.classList.toggle("because", item.because.includes(classId));
      return label;
    }),
  );
  if (!clip.labels.length) $("labels").textContent = "none";
  const counts = content.histograms?.[item.class_id];
  const drawn = counts ? histogram(counts, content.log_odds, nameOf(item.class_id), item.score, item.threshold) : [];
  $("histogram").replaceChildren(...drawn);
}

// Return names, each a list of nodes, joined: a, b and c.
function listed(names) {
  const before = (index) => (index === 0 ? "" : index < names.length - 1 ? ", " : " and ");
  return names.flatMap((name, index) => [before(index), ...name]);
}

function showSource(item, clip) {
  const link = (start, text) => {
    const anchor = document.createElement("a");
    anchor.href = clip.video.url.replace(/t=\d+s$/, `t=${Math.floor(start)}s`);
    anchor.textContent = text;
    anchor.target = "_blank";
    anchor.rel = "noopener noreferrer";
    return anchor;
  };
  $("source").replaceChildren();
  if (clip.video) {
    const start = clip.video.start_s;
    const at = Math.floor(start + (item.window?.[0] || 0));
    $("source").append(link(at, `Source video at ${at} s`));
    if (item.window) $("source").append(" ", link(start, `clip from ${Math.floor(start)} s`));
  }
  if (!clip.audio) $("source").prepend(clip.video ? "No sound here. " : "No sound here, and no known source.");
}

// Update everything that depends on judgements.
function refresh() {
  const counts = judgements.counts();
  const n = judgements.made.size;
  const parts = DECISIONS.map((decision) => `${counts[decision]} ${decision}`).join(", ");
  const progress = `${n} of ${items.length} judged${n ? `: ${parts}` : ""}`;
  if ($("progress").textContent !== progress) $("progress").textContent = progress;
  for (const decision of DECISIONS) {
    document.querySelector(`#bar .${decision}`).style.width = `${(100 * counts[decision]) / items.length}%`;
  }
  const shownItems = items.filter(passes);
  const place = shownItems.indexOf(items[current]) + 1;
  $("place").textContent = shownItems.length === items.length ? "" : `${place ? `${place} of ` : ""}${shownItems.length} shown`;
  $("nothing").hidden = shownItems.length > 0;
  $("card").hidden = !shownItems.length; // what is not seen is not judged
  if ($("card").hidden) player.audio.pause();
  const decision = decisionOf(items[current]);
  $("judged").textContent = decision ? `judged ${decision}` : "";
  $("judged").className = decision;
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
  }
  // Not `disabled`: a button that is pressed must keep the focus. It then says why nothing happens.
  const idle = { previous: find(current - 1, -1) < 0, next: find(current + 1, 1) < 0, undo: !judgements.steps.length, download: !n };
  for (const [id, nothingToDo] of Object.entries(idle)) $(id).setAttribute("aria-disabled", String(nothingToDo));
  $("kept").textContent = judgements.keeps
    ? `Judgements are kept in this browser (page ${content.page}); download them when you are done.`
    : "This browser keeps nothing for this page: download before you close it.";
}

// ---- what a person does

function decide(decision) {
  if ($("card").hidden) return say("No item fits this filter.");
  const item = items[current];
  judgements.judge([[item.item, { decision, judge: judgements.settings.judge || "" }]]);
  const undecided = (other) => !decisionOf(other);
  let following = find(current + 1, 1, undecided);
  if (following < 0) following = find(0, 1, undecided);
  if (following < 0 && DECISIONS.includes(judgements.settings.filter?.decision)) following = find(current + 1, 1);
  const all = judgements.made.size === items.length;
  const rest = all ? " All items are judged: download the judgements." : " Nothing undecided is left in this filter.";
  say(...nodes`${quotedName(item.class_id)} judged ${decision}.${following < 0 ? rest : ""}`);
  if (following < 0) refresh();
  else show(following, true);
}

function step(direction) {
  const index = find(current + direction, direction);
  if (index < 0) return say(direction > 0 ? "This is the last item." : "This is the first item.");
  say("");
  show(index, true);
}

function undo() {
  const taken = judgements.undo();
  if (!taken.length) return say("Nothing to undo.");
  say(taken.length > 1 ? `${taken.length} judgements undone.` : "Judgement undone.");
  show(items.findIndex((item) => item.item === taken[0]));
}

function download() {
  if (!judgements.made.size) return say("Nothing is judged yet.");
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([judgements.csv()], { type: "text/csv" }));
  anchor.download = `judgements-${content.page}.csv`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
  say(`${judgements.made.size} judgements downloaded.`);
}

async function load(event) {
  const file = event.target.files[0];
  if (!file) return;
  try {
    const n = judgements.load(await file.text());
    say(`${n} judgements loaded from ${file.name}.`);
  } catch (error) {
    say(`${file.name} was not loaded. ${error.message}`);
  }
  event.target.value = "";
  refresh();
}

function say(...parts) {
  $("message").replaceChildren(...parts);
}

function openSource() {
  document.querySelector("#source a")?.click();
}

const KEYS = {
  1: () => decide("right"), r: () => decide("right"),
  2: () => decide("wrong"), w: () => decide("wrong"),
  3: () => decide("unsure"), u: () => decide("unsure"),
  " ": () => player.toggle(), p: () => player.toggle(),
  a: () => player.playFrom(0),
  ArrowRight: () => step(1), s: () => step(1), n: () => step(1),
  ArrowLeft: () => step(-1),
  z: undo, Backspace: undo,
  o: openSource,
  d: download,
};

// Keys without Ctrl or Alt can be turned off, for people who dictate or whose keyboard repeats (WCAG 2.1.4).
const shortcuts = new Map([...document.querySelectorAll("[aria-keyshortcuts]")].map((e) => [e, e.getAttribute("aria-keyshortcuts")]));
function switchKeys(act) {
  judgements.set("keysAct", act);
  document.body.classList.toggle("without-keys", !act);
  for (const [element, keys] of shortcuts) {
    if (act) element.setAttribute("aria-keyshortcuts", keys);
    else element.removeAttribute("aria-keyshortcuts");
  }
}

// Return whether the focused element needs this key.
function takesKey(element, key) {
  if (element.matches("input[type=text], select")) return true;
  if (element.matches("input[type=range]")) return key.startsWith("Arrow");
  return key === " " && element.matches("button, input, summary, a");
}

document.addEventListener("keydown", (event) => {
  byPointer = false;
  listening = true;
  if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "judge")) event.target.blur();
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || !$("keys-act").checked || event.ctrlKey || event.metaKey || event.altKey || takesKey(event.target, event.key)) return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) action();
});
document.addEventListener("pointerdown", () => { byPointer = listening = true; }, true);
for (const kind of ["click", "change"]) {
  document.addEventListener(kind, (event) => {
    if (byPointer && event.target.matches("button, select, input:not([type=text])")) event.target.blur(); // keys act again
  });
}
for (const button of document.querySelectorAll("[data-decision]")) {
  button.addEventListener("click", () => decide(button.dataset.decision));
}
for (const [id, action] of Object.entries({
  play: () => player.toggle(),
  "play-all": () => player.playFrom(0),
  previous: () => step(-1),
  next: () => step(1),
  undo,
  download,
  "show-all": () => {
    for (const name of ["by-decision", "by-class", "by-type"]) $(name).value = ANY;
    filterChanged();
  },
})) {
  $(id).addEventListener("click", action);
}
$("load").addEventListener("change", load);
$("judge").value = judgements.settings.judge || "";
$("judge").addEventListener("input", () => judgements.set("judge", $("judge").value.trim()));
$("keys-act").checked = judgements.settings.keysAct ?? true;
$("keys-act").addEventListener("change", () => switchKeys($("keys-act").checked));
switchKeys($("keys-act").checked);
$("by-itself").checked = judgements.settings.byItself ?? true;
$("by-itself").addEventListener("change", () => judgements.set("byItself", $("by-itself").checked));
addEventListener("storage", (event) => {
  if (event.key !== judgements.key) return; // another window judged
  judgements.read();
  refresh();
});
addEventListener("beforeunload", (event) => {
  if (!judgements.keeps && judgements.made.size) event.preventDefault();
});
document.addEventListener("DOMContentLoaded", () => waiting && show(current));

for (const [height, hertz] of content.ticks || []) {
  const mark = document.createElement("span");
  mark.style.bottom = `${100 * height}%`;
  mark.textContent = hertz >= 1000 ? `${hertz / 1000} kHz` : `${hertz} Hz`;
  $("frequencies").append(mark);
}
$("keys").open = matchMedia("(min-width: 42rem)").matches;
fillFilters();
const remembered = items.findIndex((item) => item.item === judgements.settings.item);
show(Math.max(remembered, 0));
