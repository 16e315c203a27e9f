"use strict";
// A conversation on the left, its list on the right. Everything is asked of this server alone.

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const turns = []; // { role, content }
const marks = new Map(); // item id -> { id, name, kind: "seen" | "exclude" }
let running = null; // the request under way

$("key").value = sessionStorage.getItem("key") || "";
$("key").addEventListener("change", () => {
  sessionStorage.setItem("key", $("key").value);
  begin();
});

function headers(more = {}) {
  const key = $("key").value.trim();
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function problem(answer) {
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) $("access").open = true;
  return body.error ? body.error.message : `The server answered ${answer.status}.`;
}

async function begin() {
  try {
    const models = await fetch("/v1/models", { headers: headers() });
    if (!models.ok) return say(await problem(models), true);
    const model = (await models.json()).data[0];
    const catalog = model.catalog;
    $("about").textContent = catalog
      ? `${model.id}: ${catalog.items.toLocaleString()} items, lists of up to ${catalog.list}`
      : `${model.id} has no catalog`;
    if (!catalog) return;
    $("many").max = catalog.list;
    $("many").placeholder = catalog.list;
    const found = await fetch("/v1/items?limit=1", { headers: headers() });
    if (!found.ok) return;
    const chosen = $("genre").value;
    const genres = (await found.json()).genres;
    $("genre").replaceChildren(
      make("option", { value: "", textContent: "any" }),
      ...genres.map((genre) => make("option", { value: genre.name, textContent: `${genre.name} (${genre.items})` })),
    );
    $("genre").value = chosen;
    $("genre").disabled = genres.length === 0;
    say("");
  } catch {
    say("The server cannot be reached.", true);
  }
}

function showTurn(role, content) {
  turns.push({ role, content });
  const who = role === "user" ? "You" : "Recommender";
  const turn = make("li", { className: role });
  turn.append(make("strong", { textContent: `${who}: ` }), content);
  $("turns").append(turn);
  turn.scrollIntoView({ block: "nearest" });
}

// The constraints of the next list.
function constraints() {
  const asked = { seen: [], exclude: [] };
  for (const mark of marks.values()) asked[mark.kind].push(mark.id);
  const many = parseInt($("many").value, 10);
  if (many) asked.n = many;
  if ($("genre").value) asked.only = { genres: [$("genre").value] };
  return asked;
}

async function recommend() {
  if (running) running.abort();
  if (!turns.some((turn) => turn.role === "user")) return;
  const here = (running = new AbortController());
  $("items").replaceChildren();
  $("list").setAttribute("aria-busy", "true");
  $("stop").hidden = false;
  say("Writing the list…");
  const names = [];
  try {
    const answer = await fetch("/v1/recommend", {
      method: "POST",
      signal: here.signal,
      headers: headers({ "Content-Type": "application/json" }),
      body: JSON.stringify({ messages: asked(), stream: true, alternatives: 3, ...constraints() }),
    });
    if (!answer.ok) return say(await problem(answer), true);
    for await (const { event, data } of events(answer.body)) {
      if (event === "about") addSeen(data.seen);
      if (event === "item") {
        names.push(data.name);
        showItem(data);
        say(`Rank ${data.rank}: ${data.name}`);
      }
      if (event === "alternatives") data.ranks.forEach(showOthers);
      if (event === "error") return say(data.error.message, true);
    }
    say(`${names.length} items.`);
    const text = names.map((name, place) => `${place + 1}. ${name}`).join("\n");
    const last = turns[turns.length - 1];
    if (last.role === "assistant") turns.pop(), $("turns").lastElementChild.remove();
    showTurn("assistant", text);
  } catch (error) {
    say(error.name === "AbortError" ? "Stopped." : "The answer broke off.", error.name !== "AbortError");
  } finally {
    if (running === here) {
      running = null;
      $("list").setAttribute("aria-busy", "false");
      $("stop").hidden = true;
    }
  }
}

// The turns up to the last one of the user.
function asked() {
  const last = turns.findLastIndex((turn) => turn.role === "user");
  return turns.slice(0, last + 1);
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
      const field = (name) => lines.filter((l) => l.startsWith(name)).map((l) => l.slice(name.length).trim()).join("\n");
      if (field("data:")) yield { event: field("event:"), data: JSON.parse(field("data:")) };
    }
  }
}

const percent = (score) => (score >= 0.001 ? `${(100 * score).toFixed(1)} %` : "under 0.1 %");

function bar(score) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  rect.setAttribute("width", Math.max(0.5, 100 * score));
  rect.setAttribute("height", 1);
  svg.append(rect);
  return svg;
}

function showItem(item) {
  const line = make("li");
  line.dataset.id = item.id;
  const name = make("button", { type: "button", className: "name", textContent: item.name });
  name.setAttribute("aria-expanded", "false");
  name.setAttribute("aria-label", `${item.name}, probability ${percent(item.score)}; what else could stand here`);
  name.addEventListener("click", () => {
    const open = line.classList.toggle("open");
    name.setAttribute("aria-expanded", String(open));
  });
  const meter = make("div", { className: "meter" }, bar(item.score), percent(item.score));
  const genres = item.genres.length ? make("div", { className: "genres", textContent: item.genres.join(", ") }) : "";
  line.append(
    make(
      "div",
      { className: "item" },
      make("span", { className: "rank", textContent: item.rank }),
      make("div", {}, name, genres),
      thumbs(item, line),
      meter,
    ),
    make("div", { className: "others", textContent: "Nothing else is known yet." }),
  );
  $("items").append(line);
}

function thumbs(item, line) {
  const button = (kind, sign, label) => {
    const thumb = make("button", { type: "button", textContent: sign, title: label });
    thumb.setAttribute("aria-label", `${label}: ${item.name}`);
    thumb.setAttribute("aria-pressed", "false");
    thumb.addEventListener("click", () => {
      mark(item, kind);
      line.classList.add("out");
      thumb.setAttribute("aria-pressed", "true");
    });
    return thumb;
  };
  return make(
    "div",
    { className: "thumbs" },
    button("seen", "Seen", "I know it"),
    button("exclude", "No", "Not this one"),
  );
}

function showOthers(others, place) {
  const line = $("items").children[place];
  if (!line) return;
  const box = line.querySelector(".others");
  box.textContent = others.length
    ? `Could have been: ${others.map((other) => `${other.name} (${percent(other.score)})`).join(", ")}`
    : "There was no other choice.";
}

function mark(item, kind) {
  marks.set(item.id, { id: item.id, name: item.name, kind });
  showChips();
}

function addSeen(seen) {
  for (const item of seen) if (!marks.has(item.id)) marks.set(item.id, { ...item, kind: "seen", said: true });
  showChips();
}

function showChips() {
  const words = { seen: "seen", exclude: "not wanted" };
  $("chips").replaceChildren(
    ...[...marks.values()].map((mark) => {
      const chip = make("button", { type: "button", className: "chip" });
      chip.append(`${mark.name} `, make("small", { textContent: `${words[mark.kind]} ×` }));
      chip.setAttribute("aria-label", `${mark.name}, ${words[mark.kind]}: remove`);
      chip.addEventListener("click", () => {
        marks.delete(mark.id);
        showChips();
        recommend();
      });
      return make("li", {}, chip);
    }),
  );
}

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
$("genre").addEventListener("change", recommend);
$("many").addEventListener("change", recommend);
$("anew").addEventListener("click", () => {
  if (running) running.abort();
  turns.length = 0;
  marks.clear();
  showChips();
  $("turns").replaceChildren();
  $("items").replaceChildren();
  say("");
  $("message").focus();
});

// The search box: a list of items, of which one is marked as not wanted.
let searching = 0;
let chosen = -1;

$("search").addEventListener("input", async () => {
  const text = $("search").value.trim();
  const mine = ++searching;
  if (!text) return close();
  await new Promise((later) => setTimeout(later, 120));
  if (mine !== searching) return;
  const answer = await fetch(`/v1/items?limit=8&q=${encodeURIComponent(text)}`, { headers: headers() }).catch(() => null);
  if (!answer || mine !== searching) return;
  if (!answer.ok) return say(await problem(answer), true);
  const items = (await answer.json()).data;
  chosen = -1;
  $("found").replaceChildren(
    ...items.map((item, place) => {
      const option = make("li", { id: `found-${place}`, textContent: item.name });
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.addEventListener("mousedown", (event) => event.preventDefault());
      option.addEventListener("click", () => take(item));
      option.item = item;
      return option;
    }),
  );
  $("found").hidden = items.length === 0;
  $("search").setAttribute("aria-expanded", String(items.length > 0));
});

function take(item) {
  mark(item, "exclude");
  $("search").value = "";
  close();
  recommend();
}

function close() {
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  $("search").removeAttribute("aria-activedescendant");
}

$("search").addEventListener("keydown", (event) => {
  const options = [...$("found").children];
  if (event.key === "Escape") return close();
  if ($("found").hidden || options.length === 0) return;
  if (event.key === "ArrowDown") chosen = (chosen + 1) % options.length;
  else if (event.key === "ArrowUp") chosen = (chosen + options.length - 1) % options.length;
  else if (event.key === "Enter" && chosen >= 0) {
    event.preventDefault();
    return take(options[chosen].item);
  } else return;
  event.preventDefault();
  options.forEach((option, place) => option.setAttribute("aria-selected", String(place === chosen)));
  options[chosen].scrollIntoView({ block: "nearest" });
  $("search").setAttribute("aria-activedescendant", options[chosen].id);
});
$("search").addEventListener("blur", close);

begin();
