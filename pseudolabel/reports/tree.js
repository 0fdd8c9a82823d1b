"use strict";
// The tree: open and close all, and open what a link leads to.

function openPlace() {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = place; at; at = at.parentElement?.closest("details")) if (at.matches("details")) at.open = true;
  place?.scrollIntoView();
}

const tree = document.getElementById("tree");
if (tree) {
  const fields = document.createElement("div");
  fields.className = "fields";
  for (const [text, open] of [["Open all", true], ["Close all", false]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => { for (const part of tree.querySelectorAll("details")) part.open = open; });
    fields.append(button);
  }
  tree.before(fields);
}
addEventListener("hashchange", openPlace);
if (location.hash) openPlace();
