"use strict";
// A conversation on the left, its list on the right. Everything is asked of this server alone.

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const label = (element, attributes) => {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

const turns = []; // { role, content }
// What a list must keep to, by what it is about: { kind, name, count }, where the kind is "seen",
// "exclude" or "only" for an item, and "only genre", "at_most" or "at_least" for a genre. Items go
// by their names: numbers of items change when the catalog does.
const marks = new Map();
const OF_ITEMS = ["seen", "exclude", "only"];
let running = null; // the request under way
let version = null; // of the weights and the catalog that the page knows

const capital = (word) => word.slice(0, 1).toUpperCase() + word.slice(1);

// ---- what is said to the user

const say = (text) => ($("status").textContent = text);

function complain(text, retry = false) {
  $("problem").textContent = text;
  $("trouble").hidden = !text;
  $("again").hidden = !retry;
}

function headers(more = {}) {
  const key = $("key").value.trim();
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

// Why an answer is a refusal: its text, its code, and whether the same request may work later.
async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) $("access").open = true;
  const error = body.error || {};
  const wait = answer.headers.get("retry-after");
  const text = error.message || `The server answered ${answer.status}.`;
  const busy = answer.status === 429 && wait ? ` Try again in ${wait} s.` : "";
  return { text: text + busy, code: error.code, retry: answer.status >= 429 };
}

// ---- the model and its catalog

async function begin() {
  try {
    const models = await fetch("/v1/models", { headers: headers() });
    if (!models.ok) return complain((await refusal(models)).text);
    const model = (await models.json()).data[0];
    const catalog = model.catalog;
    version = model.version;
    $("about").textContent = catalog
      ? `${model.id}: ${catalog.items.toLocaleString()} items, lists of up to ${catalog.list}`
      : `${model.id} has no catalog`;
    if (!catalog) return;
    $("many").max = $("count").max = catalog.list;
    $("many").placeholder = catalog.list;
    const found = await fetch("/v1/items?limit=1", { headers: headers() });
    if (!found.ok) return complain((await refusal(found)).text);
    const chosen = $("genre").value;
    const genres = (await found.json()).genres;
    $("genre").replaceChildren(
      ...genres.map(({ name, items }) =>
        make("option", { value: name, textContent: `${capital(name)} (${items})` }),
      ),
    );
    if (genres.some((genre) => genre.name === chosen)) $("genre").value = chosen;
    for (const id of ["rule", "genre", "add", "count"]) $(id).disabled = genres.length === 0;
    if (!running) complain("");
  } catch {
    complain("The server cannot be reached.");
  }
}

// ---- the conversation

function showTurn(role, content, shown = content) {
  turns.push({ role, content });
  const who = make("span", { className: "who", textContent: role === "user" ? "You: " : "List: " });
  $("turns").append(make("li", { className: role }, who, shown));
  $("turns").scrollTop = $("turns").scrollHeight;
}

// The turns up to the last one of the user.
function asked() {
  const last = turns.findLastIndex((turn) => turn.role === "user");
  return turns.slice(0, last + 1);
}

// A list as a turn: what the model wrote, and a short form of it to look at.
function showAnswer(names) {
  const last = turns[turns.length - 1];
  if (last.role === "assistant") turns.pop(), $("turns").lastElementChild.remove();
  const text = names.map((name, place) => `${place + 1}. ${name}`).join("\n");
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  showTurn("assistant", text, names.slice(0, 3).join(", ") + more);
}

// ---- asking for a list

function constraints() {
  const list = { seen: [], exclude: [], quotas: [] };
  const only = { items: [], genres: [] };
  for (const { kind, name, count } of marks.values()) {
    if (kind === "only") only.items.push(name);
    else if (kind === "only genre") only.genres.push(name);
    else if (kind === "seen" || kind === "exclude") list[kind].push(name);
    else list.quotas.push({ genre: name, [kind]: count });
  }
  const many = parseInt($("many").value, 10);
  if (many) list.n = many;
  if (only.items.length + only.genres.length) list.only = only;
  return list;
}

async function recommend(second = false) {
  if (running) running.abort();
  if (!asked().length) return;
  const here = (running = new AbortController());
  const current = () => running === here;
  $("list").setAttribute("aria-busy", "true");
  $("stop").hidden = false;
  $("empty").hidden = true;
  for (const line of $("items").children) line.classList.add("stale");
  complain("");
  say("Writing the list…");
  const names = [];
  let done = false;
  try {
    const answer = await fetch("/v1/recommend", {
      method: "POST",
      signal: here.signal,
      headers: headers({ "Content-Type": "application/json" }),
      body: JSON.stringify({ messages: asked(), stream: true, alternatives: 3, ...constraints() }),
    });
    if (!answer.ok) {
      const { text, code, retry } = await refusal(answer);
      if (!current()) return;
      // Another catalog may be there by now.
      if (code === "unknown_item" && !second && (await forget())) return recommend(true);
      for (const line of $("items").children) line.classList.remove("stale");
      say("");
      return complain(text, retry);
    }
    for await (const { event, data } of events(answer.body)) {
      if (!current()) return;
      if (event === "about") {
        addSeen(data.seen);
        if (data.version !== version) begin();
      } else if (event === "item") {
        names.push(data.name);
        showItem(data);
      } else if (event === "alternatives") data.ranks.forEach(showOthers);
      else if (event === "error") throw new Error(data.error.message);
      else if (event === "done") done = true;
    }
    if (!done) throw new Error("");
    say(`${names.length} ${names.length === 1 ? "item" : "items"}, best first.`);
    showAnswer(names);
  } catch (error) {
    if (!current()) return;
    if (error.name === "AbortError") return say("Stopped.");
    say("");
    const reached = names.length ? "The answer broke off." : "The server cannot be reached.";
    const own = error instanceof TypeError ? "" : error.message;
    complain(own || reached, true);
  } finally {
    if (current()) {
      running = null;
      $("list").setAttribute("aria-busy", "false");
      $("stop").hidden = true;
      if (names.length) for (const line of $("items").querySelectorAll(".stale")) line.remove();
      for (const line of $("items").children) line.classList.remove("stale");
      $("empty").hidden = $("items").children.length > 0;
    }
  }
}

// Drops marks of items that the catalog no longer has; says whether there were any.
async function forget() {
  const gone = [];
  for (const [key, { kind, name }] of marks) {
    if (!OF_ITEMS.includes(kind)) continue;
    const found = await search(name, 20);
    if (found && !found.some((item) => item.name === name)) gone.push(key);
  }
  gone.forEach((key) => marks.delete(key));
  showChips();
  return gone.length > 0;
}

// Server-sent events of a stream.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const lines = rest.slice(0, end).split("\n");
      rest = rest.slice(end + 2);
      const of = (name) => lines.filter((line) => line.startsWith(name));
      const field = (name) => of(name).map((line) => line.slice(name.length).trim()).join("\n");
      if (field("data:")) yield { event: field("event:"), data: JSON.parse(field("data:")) };
    }
  }
}

// ---- the list

const percent = (score) => (score >= 0.001 ? `${(100 * score).toFixed(1)} %` : "under 0.1 %");

const SVG = "http://www.w3.org/2000/svg";
function drawing(box, ...shapes) {
  const svg = label(document.createElementNS(SVG, "svg"), { viewBox: box, "aria-hidden": "true" });
  for (const [tag, attributes] of shapes) {
    svg.append(label(document.createElementNS(SVG, tag), attributes));
  }
  return svg;
}

function meter(score) {
  const svg = drawing("0 0 100 1", ["rect", { width: Math.max(0.5, 100 * score), height: 1 }]);
  svg.setAttribute("preserveAspectRatio", "none");
  return make("div", { className: "meter" }, svg, make("span", { textContent: percent(score) }));
}

const THUMB =
  "M7 10v10H3V10zM7 10l4-7c1.6 0 2.6 1.1 2.3 2.6L12.7 9H19c1.3 0 2.2 1.1 1.9 2.3" +
  "l-1.6 7c-.2 1-1 1.7-2 1.7H7";

function showItem(item) {
  const line = make("li");
  const others = make("div", { className: "others", id: `others-${item.rank}` });
  others.append(make("p", { textContent: "What else could stand here is not known yet." }));
  const question = `What else could stand at rank ${item.rank}`;
  const why = doing("why", question, "M6 9l6 6 6-6", () => toggle(line));
  label(why, { "aria-expanded": "false", "aria-controls": others.id });
  const { name: title } = item;
  const up = doing("up", `I know it: ${title}`, THUMB, () => mark("seen", title));
  const down = doing("down", `Not this one: ${title}`, THUMB, () => mark("exclude", title));
  down.firstChild.firstChild.setAttribute("transform", "rotate(180 12 12)");
  const name = make("span", { className: "name", textContent: title });
  const genres = make("div", { className: "genres", textContent: item.genres.join(", ") });
  line.append(
    make(
      "div",
      { className: "item" },
      make("span", { className: "rank", textContent: item.rank }),
      make("div", {}, name, genres),
      make("div", { className: "does" }, up, down, why),
      meter(item.score),
    ),
    others,
  );
  line.addEventListener("click", (event) => {
    if (!event.target.closest("button, .others") && !getSelection().toString()) toggle(line);
  });
  line.addEventListener("keydown", (event) => event.key === "Escape" && hush(line));
  for (const left of ["mouseleave", "focusout"]) {
    line.addEventListener(left, () => line.classList.remove("quiet"));
  }
  place(line, item.rank);
}

// A line takes the place of the one at its rank, and the keyboard's focus with it.
function place(line, rank) {
  const old = $("items").children[rank - 1];
  if (!old) return $("items").append(line);
  const held = old.contains(document.activeElement) && document.activeElement.classList[0];
  old.replaceWith(line);
  if (held) line.querySelector(`.${held}`).focus();
}

function doing(kind, text, path, action) {
  const button = make("button", { type: "button", className: kind, title: text });
  button.append(drawing("0 0 24 24", ["path", { d: path }]));
  button.setAttribute("aria-label", text);
  button.addEventListener("click", action);
  return button;
}

function toggle(line, open = !line.classList.contains("open")) {
  line.classList.toggle("open", open);
  line.querySelector(".why").setAttribute("aria-expanded", String(open));
}

function hush(line) {
  toggle(line, false);
  line.classList.add("quiet");
}

function showOthers(others, rank) {
  const line = $("items").children[rank];
  if (!line) return;
  const box = line.querySelector(".others");
  if (!others.length) {
    return box.replaceChildren(make("p", { textContent: "There was no other choice." }));
  }
  box.replaceChildren(
    make("p", { textContent: "Could have stood here:" }),
    make("ol", {}, ...others.map(({ name, score }) => make("li", {}, name, meter(score)))),
  );
}

// ---- what a list must keep to

function mark(kind, name, more = {}) {
  const about = OF_ITEMS.includes(kind) ? "item" : kind;
  marks.set(`${about} ${name}`, { kind, name, ...more });
  showChips();
  recommend();
}

function addSeen(seen) {
  for (const { name } of seen) {
    const key = `item ${name}`;
    if (!marks.has(key)) marks.set(key, { kind: "seen", name });
  }
  showChips();
}

function showChips() {
  const words = {
    seen: () => "seen",
    exclude: () => "not wanted",
    only: () => "only",
    "only genre": () => "only",
    at_most: (count) => `at most ${count}`,
    at_least: (count) => `at least ${count}`,
  };
  const held = [...$("chips").querySelectorAll("button")].indexOf(document.activeElement);
  $("chips").replaceChildren(
    ...[...marks].map(([key, { kind, name, count }]) => {
      const word = words[kind](count);
      const chip = make("button", { type: "button", className: "chip" });
      const shown = OF_ITEMS.includes(kind) ? name : capital(name);
      chip.append(`${shown} `, make("small", { textContent: `${word} ×` }));
      chip.setAttribute("aria-label", `Remove: ${name}, ${word}`);
      chip.addEventListener("click", () => {
        marks.delete(key);
        showChips();
        recommend();
      });
      return make("li", {}, chip);
    }),
  );
  $("chips-title").hidden = marks.size === 0;
  const buttons = $("chips").querySelectorAll("button");
  if (held >= 0) (buttons[Math.min(held, buttons.length - 1)] || $("search")).focus();
}

// ---- the search box: a list of items, of which one is taken

let searching = 0;
let chosen = -1;

async function search(text, limit) {
  const path = `/v1/items?limit=${limit}&q=${encodeURIComponent(text)}`;
  const answer = await fetch(path, { headers: headers() }).catch(() => null);
  if (!answer) return complain("The server cannot be reached.");
  if (!answer.ok) return complain((await refusal(answer)).text);
  return (await answer.json()).data;
}

$("search").addEventListener("input", async () => {
  const text = $("search").value.trim();
  const mine = ++searching;
  if (!text) return close();
  await new Promise((later) => setTimeout(later, 120));
  if (mine !== searching) return;
  const items = await search(text, 8);
  if (!items || mine !== searching) return;
  chosen = -1;
  $("search").removeAttribute("aria-activedescendant");
  const options = items.map(({ name }, place) => {
    const option = make("li", { id: `found-${place}`, textContent: name });
    label(option, { role: "option", "aria-selected": "false" });
    option.addEventListener("click", () => take(name));
    return option;
  });
  if (!options.length) {
    const none = make("li", { textContent: "Nothing in the catalog has this name." });
    label(none, { role: "option", "aria-disabled": "true", "aria-selected": "false" });
    options.push(none);
  }
  $("found").replaceChildren(...options);
  $("found").hidden = false;
  $("search").setAttribute("aria-expanded", "true");
});

function take(name) {
  $("search").value = "";
  close();
  mark($("as").value, name);
}

function close() {
  searching += 1;
  chosen = -1;
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  $("search").removeAttribute("aria-activedescendant");
}

$("search").addEventListener("keydown", (event) => {
  const options = [...$("found").querySelectorAll("li:not([aria-disabled])")];
  if (event.key === "Escape") return close();
  if ($("found").hidden || options.length === 0) return;
  const n = options.length;
  if (event.key === "ArrowDown") chosen = (chosen + 1) % n;
  else if (event.key === "ArrowUp") chosen = (Math.max(chosen, 0) + n - 1) % n;
  else if (event.key === "Enter") {
    event.preventDefault();
    return take(options[Math.max(chosen, 0)].textContent);
  } else return;
  event.preventDefault();
  options.forEach((option, at) => option.setAttribute("aria-selected", String(at === chosen)));
  options[chosen].scrollIntoView({ block: "nearest" });
  $("search").setAttribute("aria-activedescendant", options[chosen].id);
});
$("found").addEventListener("mousedown", (event) => event.preventDefault());
$("search").addEventListener("blur", close);

// ---- the rest of the page

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (!text) return;
  showTurn("user", text);
  $("message").value = "";
  recommend();
});
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("stop").addEventListener("click", () => running && running.abort());
$("again").addEventListener("click", () => recommend());
$("many").addEventListener("change", () => recommend());
$("rule").addEventListener("change", () => ($("count-field").hidden = $("rule").value === "only"));
$("rules").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("genre").value;
  if (!name) return;
  if ($("rule").value === "only") return mark("only genre", name);
  mark($("rule").value, name, { count: parseInt($("count").value, 10) || 0 });
});
$("anew").addEventListener("click", () => {
  const stopped = running;
  running = null;
  if (stopped) stopped.abort();
  $("list").setAttribute("aria-busy", "false");
  $("stop").hidden = true;
  turns.length = 0;
  marks.clear();
  $("many").value = "";
  showChips();
  $("turns").replaceChildren();
  $("items").replaceChildren();
  $("empty").hidden = false;
  say("");
  complain("");
  $("message").focus();
});
$("keys").addEventListener("submit", (event) => event.preventDefault());
$("key").addEventListener("change", () => {
  sessionStorage.setItem("key", $("key").value);
  begin();
});
$("key").value = sessionStorage.getItem("key") || "";

begin();
