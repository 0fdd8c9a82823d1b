"use strict";
// Names in sentences: each name is isolated, so that one written from right to left leaves the rest in its order.

function bdi(name) {
  const element = document.createElement("bdi");
  element.textContent = name;
  return element;
}

// Template tag: return the text as a list of strings and nodes; a value may be such a list itself.
function nodes(strings, ...values) {
  return strings.flatMap((string, index) => [string, values[index] ?? ""].flat());
}
