// SPDX-License-Identifier: Apache-2.0
//
// The page of pidgraft audit. What it shows comes from processes that may not wish
// it well: all of it is set as text, and nothing is made of markup.
"use strict";

const byID = id => document.getElementById(id);
const folded = new Set(); // inodes of boxes that are closed
const rates = new Map(); // inode: births a second, of the last minute
const live = new Map(); // inode: what of a box changes without its tree
let shape = ""; // of the trees that are drawn
let heard = 0; // when something came last
let wanted = ""; // what is looked for

// el makes an element with a class and, as text or elements, what is in it.
function el(name, cls, ...inside) {
  const e = document.createElement(name);
  if (cls) e.className = cls;
  e.append(...inside.filter(x => x !== null && x !== undefined && x !== "").map(x => x instanceof Node ? x : String(x)));
  return e;
}

const count = n => n.toLocaleString("en");
const plural = (n, word, more) => `${count(n)} ${n === 1 ? word : more || word + "s"}`;
const chain = numbers => numbers.length ? numbers.join("/") : "outside";
// What is not text looks like it: controls, directions, private use.
const visible = s => s.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\uFFFD");

function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return Math.round(seconds / size) + " " + unit;
  }
  return Math.round(seconds) + " s";
}

function pill(cls, text) {
  const p = byID("state");
  p.className = "pill " + cls;
  p.textContent = text;
}

function headline(o) {
  if (!o.ready) pill("waiting", "no snapshot yet");
  else if (o.complete) pill("complete", "complete");
  else pill("degraded", "degraded: something may be missing");
  const h = o.header;
  if (h) {
    byID("where").textContent = `pid namespace ${h.namespace.inode}${h.namespace.level ? `, ${plural(h.namespace.level, "level")} down` : ""} · Linux ${visible(h.release)} · ${visible(h.source)}`;
  }
}

function tiles(o) {
  // What an inner namespace counts, those around it count too.
  const inodes = new Set(o.namespaces.map(ns => ns.inode));
  const outer = o.namespaces.filter(ns => !inodes.has(ns.parent));
  const total = f => outer.reduce((n, ns) => n + f(ns), 0);
  const rate = total(ns => Math.max(0, ns.churn));
  const all = [
    [o.namespaces.length + o.omitted, "namespaces"],
    [total(ns => ns.processes), "processes"],
    [total(ns => ns.tasks), "tasks"],
    [total(ns => ns.ghosts), "ghost" + (total(ns => ns.ghosts) === 1 ? "" : "s")],
    [total(ns => ns.zombies), "zombie" + (total(ns => ns.zombies) === 1 ? "" : "s"), total(ns => ns.zombies) ? "warn" : ""],
    [rate < 10 ? Number(rate.toFixed(1)) : Math.round(rate), "births a second"],
    [o.sum.events, "events"],
    [o.sum.lost, "events lost", o.sum.lost ? "bad" : ""],
  ];
  byID("tiles").replaceChildren(...all.map(([n, what, cls]) => el("div", "tile " + (cls || ""), el("b", "", count(n)), el("span", "", what))));
}

// spark draws the births of the last minute.
function spark(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 60 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(1, ...values);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", values.map((v, i) => `${60 - values.length + 1 + i},${(19 - 18 * v / most).toFixed(1)}`).join(" "));
  svg.append(line);
  return svg;
}

function budget(ns) {
  const used = ns.pid_max > 1 ? ns.allocated / (ns.pid_max - 1) : 0;
  const bar = el("div", "bar" + (used >= .95 ? " bad" : used >= .8 ? " warn" : ""), el("i"));
  bar.style.setProperty("--w", (100 * used).toFixed(2) + "%");
  if (ns.cursor > 0 && ns.pid_max > 0) {
    const mark = el("u");
    mark.style.setProperty("--c", (100 * Math.min(1, ns.cursor / ns.pid_max)).toFixed(2) + "%");
    mark.title = `the next number tried was ${ns.cursor} at the last snapshot`;
    bar.append(mark);
  }
  const words = [`${count(ns.allocated)} of ${ns.pid_max > 0 ? count(ns.pid_max - 1) : "?"} numbers`];
  if (ns.left >= 0) words.push(`${count(ns.left)} left`);
  if (ns.ghosts) words.push(plural(ns.ghosts, "ghost"));
  if (ns.zombies) words.push(plural(ns.zombies, "zombie"));
  if (ns.exhausted_seconds > 0 && ns.exhausted_seconds < 3600) words.push(`full in ${duration(ns.exhausted_seconds)} at this rate`);
  const rate = rates.get(ns.inode) || [];
  const last = rate[rate.length - 1] || 0;
  const shown = last < 10 ? last.toFixed(1).replace(/\.0$/, "") : count(Math.round(last));
  return [bar, el("span", "", words.join(" · ")), el("span", "rate", spark(rate), `${shown} ${shown === "1" ? "birth" : "births"}/s`)];
}

const hue = n => Math.round((210 + n * 137.508) % 360);

// tag says session and group, in the colour of the session.
function tag(session, group, hues) {
  if (!hues.has(session)) hues.set(session, hues.size);
  const t = el("i", "tag", `${session || "–"}·${group || "–"}`);
  t.style.setProperty("--h", hue(hues.get(session)));
  t.title = `session ${session || "from outside"}, group ${group || "from outside"}`;
  return t;
}

function row(p, hues) {
  const notes = [];
  if (p.zombie) notes.push(p.threads > 1 ? "leader has ended" : "zombie");
  else if (p.exiting) notes.push("exiting");
  if (p.threads > 1) notes.push(plural(p.threads, "thread"));
  if (p.subreaper) notes.push("subreaper");
  if (p.uid) notes.push("uid " + p.uid);
  const r = el("div", "row" + (p.zombie ? " dead" : ""), el("b", "nr", chain(p.numbers)), el("span", "name", visible(p.comm)),
    el("span", "notes", notes.join(", ")), tag(p.session, p.group, hues));
  r.dataset.text = (chain(p.numbers) + " " + p.comm).toLowerCase();
  return r;
}

// forest draws the processes of a namespace as trees, and the boxes of namespaces
// whose init has its parent among them below that parent.
function forest(ns, boxes, hues) {
  const here = new Map(ns.forest.processes.map(p => [p.number, p]));
  const children = new Map();
  const roots = [];
  for (const p of ns.forest.processes) {
    if (p.parent && p.parent !== p.number && here.has(p.parent)) {
      if (!children.has(p.parent)) children.set(p.parent, []);
      children.get(p.parent).push(p);
    } else roots.push(p);
  }
  const done = new Set();
  const grow = p => {
    done.add(p.number);
    const part = document.createDocumentFragment();
    part.append(row(p, hues));
    const kids = el("div", "kids");
    for (const c of children.get(p.number) || []) if (!done.has(c.number)) kids.append(grow(c));
    for (const b of boxes.get(p.number) || []) kids.append(b);
    boxes.delete(p.number);
    if (kids.childNodes.length) part.append(kids);
    return part;
  };
  const all = document.createDocumentFragment();
  for (const p of roots) all.append(grow(p));
  for (const rest of boxes.values()) all.append(...rest);
  return all;
}

function box(ns, below, hues) {
  const boxes = new Map(); // number of the parent outside: boxes
  for (const inner of below.get(ns.inode) || []) {
    const init = inner.forest.processes.find(p => p.numbers[p.numbers.length - 1] === 1);
    const at = init ? init.parent : 0;
    if (!boxes.has(at)) boxes.set(at, []);
    boxes.get(at).push(box(inner, below, hues));
  }
  const b = el("section", "ns" + (folded.has(ns.inode) ? " folded" : ""));
  const fold = el("button", "", folded.has(ns.inode) ? "▸" : "▾");
  fold.setAttribute("aria-label", `pid namespace ${ns.inode}: open or close`);
  fold.onclick = () => {
    if (!folded.delete(ns.inode)) folded.add(ns.inode);
    const closed = folded.has(ns.inode);
    b.classList.toggle("folded", closed);
    fold.textContent = closed ? "▸" : "▾";
  };
  const head = el("div", "top", fold, el("h3", "", `pid namespace ${ns.inode}`));
  if (ns.container) {
    const short = ns.container.length === 64 ? ns.container.slice(0, 12) : ns.container;
    const c = el("span", "chip mono", el("em", "", ns.runtime || "container"), short);
    c.title = ns.container;
    head.append(c);
  }
  if (ns.pod) head.append(el("span", "chip mono", el("em", "", "pod"), ns.pod.length === 64 ? ns.pod.slice(0, 12) : ns.pod));
  head.append(el("span", "notes", `level ${ns.level} · ${plural(ns.processes, "process", "processes")}, ${plural(ns.tasks, "task")}`));
  const use = el("div", "budget");
  const inside = el("div", "in", forest(ns, boxes, hues));
  const f = ns.forest;
  const more = [];
  if (f.omitted_processes) more.push(`and ${plural(f.omitted_processes, "process", "processes")} more that are not drawn`);
  if (f.kernel) more.push(plural(f.kernel, "kernel thread"));
  if (f.held) more.push(`${f.held.length === 1 ? "number" : "numbers"} ${f.held.slice(0, 10).join(", ")}: in use, and the kernel does not show by whom`);
  if (more.length) inside.append(el("p", "more", more.join(" · ")));
  if (f.ghosts.length) {
    const line = el("div", "ghosts");
    for (const g of f.ghosts) {
      const why = [];
      if (g.group) why.push(`group of ${plural(g.group, "process", "processes")}`);
      if (g.session) why.push(`session of ${plural(g.session, "process", "processes")}`);
      const item = el("span", "", el("b", "nr ghost", chain(g.numbers)), why.join(", ") || "no user is known");
      item.dataset.text = chain(g.numbers);
      line.append(item);
    }
    if (f.omitted_ghosts) line.append(el("span", "", `and ${plural(f.omitted_ghosts, "ghost")} more`));
    inside.append(line);
  }
  b.append(head, use, inside);
  live.set(ns.inode, use);
  return b;
}

function namespaces(o) {
  for (const ns of o.namespaces) {
    const r = rates.get(ns.inode) || [];
    r.push(Math.max(0, ns.churn));
    rates.set(ns.inode, r.slice(-60));
  }
  const there = new Set(o.namespaces.map(ns => ns.inode));
  for (const known of [rates, folded]) {
    for (const inode of known.keys()) if (!there.has(inode)) known.delete(inode);
  }

  const drawn = o.namespaces.filter(ns => ns.forest);
  const now = JSON.stringify([o.omitted, drawn.map(ns => [ns.inode, ns.parent, ns.container, ns.pod, ns.processes, ns.tasks, ns.forest])]);
  if (drawn.length && now !== shape) {
    shape = now;
    live.clear();
    const below = new Map();
    const inodes = new Set(drawn.map(ns => ns.inode));
    const roots = [];
    for (const ns of drawn) {
      if (!inodes.has(ns.parent)) { roots.push(ns); continue; }
      if (!below.has(ns.parent)) below.set(ns.parent, []);
      below.get(ns.parent).push(ns);
    }
    const hues = new Map();
    const all = roots.map(ns => box(ns, below, hues));
    if (o.omitted) all.push(el("p", "more", `and ${plural(o.omitted, "namespace")} more that are not drawn`));
    byID("namespaces").replaceChildren(...all);
    find();
  }
  for (const ns of drawn) {
    const use = live.get(ns.inode);
    if (use) use.replaceChildren(...budget(ns));
  }
}

function findings(o) {
  const n = o.findings.length + o.omitted_findings;
  byID("found").textContent = n ? count(n) : "";
  const most = 100;
  const all = o.findings.slice(0, most).map(f => {
    const where = [`namespace ${f.namespace || "?"}`];
    if (f.container) where.push(f.container.length === 64 ? f.container.slice(0, 12) : f.container);
    if (f.seen) where.push("seen by " + f.seen.join(", "));
    if (f.unseen) where.push("not by " + f.unseen.join(", "));
    return el("article", "finding " + f.severity, el("strong", "", f.kind.replace(/-/g, " ")), visible(f.text), " ", el("small", "", where.join(" · ")));
  });
  if (n > most) all.push(el("p", "more", `and ${count(n - most)} more`));
  if (!n) all.push(el("p", o.complete ? "clean" : "empty", o.complete ? "Nothing is wrong now." : "Not known: the state is not complete."));
  byID("findings").replaceChildren(...all);
}

function recent(o) {
  byID("recent").replaceChildren(...o.recent.slice().reverse().map(r => {
    const t = el("time", "", r.time.slice(11, 19));
    t.dateTime = r.time;
    return el("li", "", t, el("span", r.level || r.type, `${r.type}: ${visible(r.text)}`));
  }));
}

// find marks what is looked for.
function find() {
  for (const r of document.querySelectorAll("[data-text]")) {
    r.classList.toggle("hit", wanted !== "" && r.dataset.text.includes(wanted));
  }
}

byID("find").oninput = e => {
  wanted = e.target.value.trim().toLowerCase();
  find();
  const first = document.querySelector(".hit");
  if (first) first.scrollIntoView({ block: "nearest" });
};

const source = new EventSource("events");
source.onmessage = e => {
  heard = Date.now();
  const o = JSON.parse(e.data);
  headline(o);
  tiles(o);
  namespaces(o);
  findings(o);
  recent(o);
  document.body.dataset.generation = o.generation; // for tests
};
source.onerror = () => pill("gone", "not connected");
setInterval(() => {
  if (heard && Date.now() - heard > 5000) pill("gone", `nothing heard for ${duration((Date.now() - heard) / 1000)}`);
}, 1000);
