"use strict";
// Asks for the state once a second and shows it. Names come from the application: they are only ever text.
const STEP_SECONDS = 5;
const MINUTE_STEPS = 12;
const SHOWN_STEPS = 180;
const STALE_SECONDS = 4;
// Fields of a count, in the order of the process's history.
const TOKEN_TYPES = ["input", "cache read", "cache write 5m", "cache write 1h", "output"];
const TOKENS = 6, REQUESTS = 11, FAILED = 12, BLOCKED = 13, HITS = 14, MISSES = 15, MISS_USD = 16, UNPRICED = 17, FIELDS = 18;
const FEATURE_COLOURS = ["c0", "c1", "c2", "c3", "c4"];
const sum = (values) => values.reduce((total, value) => total + value, 0);
const named = (name, nothing) => name || nothing;
const UNATTRIBUTED = "unattributed";

let steps = [];
let next = 0;
let began = null;
let answeredAt = null;
let state = null;
let slots = new Map();
let failure = "";

const charts = {
  spend: new Chart(byId("charts"), { title: "Dollars by feature", unit: "per minute", stacked: true, format: usd, top: (largest) => Math.max(largest * 1.08, 0.0001) }),
  tokens: new Chart(byId("charts"), { title: "Tokens by type", unit: "per minute", stacked: true, format: count, top: (largest) => Math.max(largest * 1.08, 10) }),
  cache: new Chart(byId("charts"), { title: "Prompt cache", unit: "share of requests and of prompt tokens", format: percent, top: () => 1.02 }),
  latency: new Chart(byId("charts"), { title: "Latency", unit: "seconds, of the minute before", format: seconds, top: (largest) => Math.max(largest * 1.1, 0.5) }),
};

const hitRatio = (counts) => (counts[HITS] + counts[MISSES] ? counts[HITS] / (counts[HITS] + counts[MISSES]) : null);
const promptTokens = (counts) => sum(counts.slice(TOKENS, TOKENS + 4));
const isMuch = (part, whole) => part > 0.05 * whole;
const readShare = (counts) => (promptTokens(counts) ? counts[TOKENS + 1] / promptTokens(counts) : null);
const dollars = (counts) => sum(counts.slice(0, TOKENS));

// What happened in the minute that ends with each step: a window moved over the steps.
function minutes() {
  const counts = new Array(FIELDS).fill(0);
  const spent = new Map();
  const add = (step, sign) => {
    step[1].forEach((value, i) => (counts[i] += sign * value));
    for (const [name, value] of Object.entries(step[3])) spent.set(name, (spent.get(name) || 0) + sign * value);
  };
  return steps.map((step, i) => {
    add(step, 1);
    if (i >= MINUTE_STEPS) add(steps[i - MINUTE_STEPS], -1);
    const clean = (value) => (Math.abs(value) < 1e-9 ? 0 : value);
    return { number: step[0], counts: counts.map(clean), latency: step[2], spent: new Map([...spent].map(([name, value]) => [name, clean(value)])) };
  });
}

function drawCharts() {
  const points = minutes().slice(-SHOWN_STEPS);
  const offset = state.now - state.clock;
  const times = [...points.map((point) => (point.number + 1) * STEP_SECONDS + offset), state.now];
  const [counts, latency] = state.minute;
  const spent = new Map(state.features.map((row) => [row[0], row[1]]));
  points.push({ counts, latency, spent });
  const column = (read) => points.map(read);

  const series = topFeatures();
  const known = series.map((one) => one.key);
  const values = known.map((name) => column((point) => point.spent.get(name) || 0));
  const rest = column((point) => Math.max(0, dollars(point.counts) - sum(known.map((name) => point.spent.get(name) || 0))));
  const others = state.feature_count > known.length && rest.some((value) => value > 1e-6) ? [[{ name: "all others", colour: "c5" }], [rest]] : [[], []];
  charts.spend.show(times, [...series, ...others[0]], [...values, ...others[1]]);

  const types = TOKEN_TYPES.map((name, i) => ({ name, colour: ["c2", "c1", "c3", "c4", "c0"][i], values: column((point) => point.counts[TOKENS + i]) }));
  const seen = types.filter((type) => type.name === "input" || type.name === "output" || type.values.some((value) => value > 0));
  charts.tokens.show(times, seen, seen.map((type) => type.values));

  charts.cache.show(times, [{ name: "requests that hit", colour: "c1" }, { name: "prompt tokens read from it", colour: "c0", dash: true }], [column((p) => hitRatio(p.counts)), column((p) => readShare(p.counts))]);
  charts.latency.show(
    times,
    [{ name: "p95", colour: "c4" }, { name: "p50", colour: "c0" }, { name: "first token p95", colour: "c2", dash: true }],
    [column((p) => p.latency[1]), column((p) => p.latency[0]), column((p) => p.latency[3])],
  );
}

// The features that spent most; one keeps its colour as long as it is among them.
function topFeatures() {
  const names = state.features.slice(0, FEATURE_COLOURS.length).filter((row) => row[2] > 0).map((row) => row[0]);
  slots = new Map([...slots].filter(([name]) => names.includes(name)));
  for (const name of names) {
    if (!slots.has(name)) slots.set(name, FEATURE_COLOURS.find((free) => ![...slots.values()].includes(free)));
  }
  return [...slots].sort((a, b) => (a[1] < b[1] ? -1 : 1)).map(([key, own]) => ({ key, name: named(key, UNATTRIBUTED), colour: own }));
}

function tile(label, value, unit, ...more) {
  const detail = more.filter(Boolean);
  return make("div", { class: "tile" }, make("dt", {}, label), make("dd", { class: "value" }, value, unit ? make("span", { class: "unit" }, unit) : null), ...detail.map((one) => make("dd", { class: "more" }, one)));
}

const told = (text, bad) => make("span", { class: bad ? "bad" : "" }, text);

function drawTiles() {
  const [counts, latency] = state.minute;
  const pace = dollars(counts);
  const failed = counts[FAILED] + counts[BLOCKED];
  const trouble = [counts[FAILED] ? count(counts[FAILED]) + " failed" : "", counts[BLOCKED] ? count(counts[BLOCKED]) + " blocked" : ""].filter(Boolean).join(", ");
  const flying = state.inflight ? count(state.inflight) + " in flight, oldest " + seconds(state.oldest_seconds) : "none in flight";
  byId("tiles").replaceChildren(
    tile("Dollars", usd(pace), "per minute", usd(60 * pace) + " an hour at this pace", usd(dollars(state.total)) + " since " + clockTime(state.began_at)),
    tile("Tokens", count(sum(counts.slice(TOKENS, REQUESTS))), "per minute", count(promptTokens(counts)) + " in, " + count(counts[TOKENS + 4]) + " out"),
    tile("Cache hits", percent(hitRatio(counts)), hitRatio(counts) == null ? "" : "of requests", hitRatio(counts) == null ? "no request asked for caching" : percent(readShare(counts)) + " of prompt tokens", counts[MISS_USD] > 0.00005 ? told(usd(counts[MISS_USD]) + " lost to misses", isMuch(counts[MISS_USD], pace)) : null),
    tile("Latency", seconds(latency[1]), "p95", "p50 " + seconds(latency[0]), latency[3] == null ? null : "first token p95 " + seconds(latency[3])),
    tile("Requests", count(counts[REQUESTS]), "per minute", failed ? told(trouble, isMuch(failed, counts[REQUESTS])) : "none failed", flying),
  );
  const unpriced = state.total[UNPRICED];
  byId("unpriced").hidden = !unpriced;
  byId("unpriced").textContent = unpriced ? count(unpriced) + " tokens are of models that the price book does not know: they are not in these dollars. Add the models to a price file." : "";
}

function drawNames(id, rows, all, kind, nothing) {
  const most = Math.max(...rows.map((row) => row[2]), 1e-12);
  const body = rows.map(([name, minute, quarter, total, requests, tokens, hits]) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = (100 * quarter) / most + "%";
    const detail = count(requests) + (requests === 1 ? " request, " : " requests, ") + count(tokens) + " tokens" + (hits == null ? "" : ", " + percent(hits) + " cache hits");
    return make("tr", {}, make("th", { scope: "row" }, named(name, nothing), make("small", {}, detail), bar), make("td", {}, usd(minute)), make("td", {}, usd(quarter)), make("td", {}, usd(total)));
  });
  const head = ["", "last minute", "15 min", "since start"].map((text, i) => make("th", { scope: "col" }, text || kind));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
  byId(id).replaceChildren(table, ...more(all - rows.length, "spent less; they are in the totals"));
}

// What is not shown one by one.
function more(number, what) {
  return number > 0 ? [make("p", { class: "nothing" }, count(number) + " more " + what)] : [];
}

function shown(element, text) {
  if (element.dataset.shown === text) return false;
  element.dataset.shown = text;
  return true;
}

function drawAlerts() {
  const place = byId("alerts");
  byId("guard-hint").textContent = state.alerts ? "" : isFleet() ? "Open alerts show here once the collector runs with --guard." : "Open alerts and breakers show here once a Guard watches.";
  place.hidden = !state.alerts;
  if (!state.alerts || !shown(place, JSON.stringify([state.alerts, state.alert_count]))) return;
  if (!state.alerts.length) return place.replaceChildren(make("p", { class: "allclear" }, "✓ No open alert"));
  place.replaceChildren(
    ...state.alerts.map((alert) => {
      const severity = ["critical", "warning", "info"].includes(alert.severity) ? alert.severity : "info";
      return make("article", { class: "alert " + severity }, make("span", { class: "severity" }, alert.severity), make("strong", {}, alert.summary), make("time", { datetime: new Date(1000 * alert.started_at).toISOString() }, "since " + clockTime(alert.started_at)), make("p", {}, alert.description), make("p", { class: "quiet" }, alert.name));
    }),
    ...more(state.alert_count - state.alerts.length, "open"),
  );
}

function drawBreakers() {
  const place = byId("breaker-table");
  byId("breakers").hidden = !(state.breakers && state.breakers.length);
  if (!state.breakers || !shown(place, JSON.stringify([state.breakers, state.breaker_count]))) return;
  const rows = state.breakers.map((one) => {
    const kind = { open: "open", half_open: "half", closed: "closed" }[one.state] || "";
    const words = one.state.replace("_", "-");
    const why = one.reason + (one.retry_at == null ? "" : "; tries again at " + clockTime(one.retry_at));
    const did = { observe: " would be blocked", degrade: " degraded" }[one.action] || " blocked";
    return make("tr", {}, make("th", { scope: "row" }, named(one.name, one.scope), one.reason ? make("small", {}, why) : null), make("td", {}, make("span", { class: "state " + kind }, words)), make("td", {}, one.action), make("td", {}, one.blocked ? count(one.blocked) + did : "none"));
  });
  const head = ["breaker", "state", "action", "calls"].map((text) => make("th", { scope: "col" }, text));
  place.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)), ...more(state.breaker_count - state.breakers.length, "not closed"));
}

const isFleet = () => state.scope === "fleet";

function drawScope() {
  if (!isFleet()) return;
  byId("scope").textContent = "All processes that publish to this collector";
  byId("empty-hint").textContent = "This page fills by itself as soon as a process that publishes to this collector makes one:";
  byId("empty-code").textContent = 'publish(recorder, "redis://queue:6379", service="api")';
  byId("empty-note").textContent = "Latencies are estimated within the buckets of /metrics.";
}

function draw() {
  drawScope();
  const empty = !state.total[REQUESTS] && !sum(state.total.slice(TOKENS, REQUESTS)) && !state.inflight;
  byId("empty").hidden = !empty;
  byId("figures").hidden = empty;
  byId("version").textContent = state.version;
  byId("since").textContent = clockTime(state.began_at);
  drawAlerts();
  drawBreakers();
  if (empty) return;
  drawTiles();
  drawCharts();
  drawNames("features", state.features, state.feature_count, "feature", UNATTRIBUTED);
  drawNames("users", state.users, state.user_count, "user", UNATTRIBUTED);
}

function drawStatus() {
  const silent = answeredAt == null ? 0 : (performance.now() - answeredAt) / 1000;
  const stale = silent > STALE_SECONDS || (answeredAt == null && failure);
  const pill = byId("status");
  const text = stale ? "no answer" : answeredAt == null ? "connecting" : "live";
  if (pill.textContent !== text) {
    pill.textContent = text;
    pill.className = "pill " + (stale ? "bad" : answeredAt == null ? "" : "good");
    document.body.classList.toggle("stale", Boolean(stale));
    byId("stale").hidden = !stale;
    byId("stale").textContent = !stale ? "" : state ? "The process does not answer. What you see is of " + clockTime(state.now) + "; this page goes on asking." : "The process does not answer" + failure + "; this page goes on asking.";
  }
  byId("clock").textContent = state ? clockTime(state.now) : "";
  document.title = (stale ? "no answer · " : state ? usd(dollars(state.minute[0])) + "/min · " : "") + "Claude spend";
}

async function ask() {
  const asking = new AbortController();
  const patience = setTimeout(() => asking.abort(), 3000);
  try {
    const response = await fetch("/live/state?since=" + next, { signal: asking.signal, cache: "no-store" });
    if (!response.ok) throw new Error(" (status " + response.status + ")");
    const found = await response.json();
    if (began !== found.began_at) {
      const again = began !== null;
      [began, steps, next, slots] = [found.began_at, [], 0, new Map()];
      if (again) return ask();
    }
    state = found;
    steps = [...steps, ...found.steps].slice(-(SHOWN_STEPS + MINUTE_STEPS));
    next = found.next;
    answeredAt = performance.now();
    failure = "";
    draw();
  } catch (error) {
    failure = error.message.startsWith(" (status") ? error.message : " at " + location.host;
    if (!(error instanceof TypeError) && error.name !== "AbortError" && !failure.startsWith(" (status")) console.error(error);
  } finally {
    clearTimeout(patience);
  }
}

async function run() {
  while (true) {
    const asked = performance.now();
    if (!document.hidden) await ask();
    drawStatus();
    await new Promise((resume) => setTimeout(resume, Math.max(100, 1000 - (performance.now() - asked))));
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(charts).forEach((chart) => chart.rebuild()));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) answeredAt = answeredAt == null ? null : Math.max(answeredAt, performance.now() - 1000 * STALE_SECONDS + 1500);
});
run();
