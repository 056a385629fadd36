// Keeps a page fresh: what changes is fetched again and put in the place of what it was, and charts go
// on. Everything on the page works without this file.
"use strict";
(() => {
  const says = document.getElementById("connection");
  if (!says) return;
  // What was done is said once: an address that is kept, or loaded again, says nothing.
  const address = new URL(location.href);
  const said = ["done", "deleted"].filter((key) => address.searchParams.has(key));
  said.forEach((key) => address.searchParams.delete(key));
  if (said.length) history.replaceState(null, "", address);

  const HOUR = 3600, MINUTE = 60, GAP = 5, SPANS = [["The last hour", HOUR], ["The last five minutes", 5 * MINUTE]];
  const place = document.querySelector(".chart");
  const port = place?.dataset.port;
  // Columns, and when they were fetched: seconds are added to them, and become minutes with the next ones.
  let plot = null, columns = null, fetchedAt = 0, span = HOUR;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const of = (path) => path + (port ? "?port=" + encodeURIComponent(port) : "");

  const time = (second) => new Date(second * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

  function draw() {
    plot?.destroy();
    const axis = { stroke: colour("--ink"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    const bits = (u, values) => values.map((v) => v >= 1e9 ? v / 1e9 + " G" : v >= 1e6 ? v / 1e6 + " M" : v >= 1e3 ? v / 1e3 + " k" : v);
    place.replaceChildren();
    plot = new uPlot({
      width: Math.max(place.clientWidth, 240), height: 220,
      // As far back as anything is known, and a minute at least.
      scales: { x: { range: (u, first, last) => [Math.max(last - span, Math.min(first, last - MINUTE)), last] },
        flows: { range: (u, low, high) => [0, Math.max(high * 1.1, 1)] }, y: { range: (u, low, high) => [0, Math.max(high * 1.1, 1000)] } },
      series: [{ value: (u, second) => second === null ? "--" : time(second) }, { label: "from clients, bit/s", stroke: colour("--in"), width: 2 },
        { label: "to clients, bit/s", stroke: colour("--out"), width: 2, dash: [6, 3] },
        { label: "flows", scale: "flows", stroke: colour("--flows"), width: 1 }],
      axes: [{ ...axis, values: (u, seconds) => seconds.map(time), space: 80 }, { ...axis, values: bits, size: 70 }, { ...axis, scale: "flows", side: 1, grid: { show: false } }],
    }, columns, place);
  }

  async function answered(path) {
    const answer = await fetch(path, { headers: { "X-Harbor-Fresh": "1" } });
    if (answer.status === 401) { location.assign("/sign-in?ended=yes"); throw new Error("signed out"); }
    return answer;
  }

  async function fetched(path) {
    const answer = await answered(path);
    if (!answer.ok) throw new Error(String(answer.status));
    return answer;
  }

  async function fetchColumns(at) {
    columns = await (await fetched(of("/samples"))).json();
    fetchedAt = at ?? columns[0].at(-1) ?? 0;
  }

  async function begin() {
    await fetchColumns();
    const choices = document.createElement("p");
    for (const [name, seconds] of SPANS) {
      const choice = document.createElement("button");
      choice.type = "button";
      choice.textContent = name;
      choice.setAttribute("aria-pressed", seconds === span);
      choice.onclick = () => {
        span = seconds;
        for (const one of choices.children) one.setAttribute("aria-pressed", one === choice);
        plot.setData(columns);
      };
      choices.append(choice);
    }
    choices.className = "choices";
    place.before(choices);
    draw();
  }

  async function goOn(now) {
    const latest = columns[0].at(-1) ?? 0;
    // A page that was away has missed some.
    if (now.at - fetchedAt >= MINUTE || now.at < fetchedAt || now.at - latest > GAP) await fetchColumns(now.at);
    else if (now.at > latest) [now.at, now.in, now.out, now.flows].forEach((value, n) => columns[n].push(value));
    plot.setData(columns);
  }

  // Whoever is in a part that would be replaced, or presses a button there, is not disturbed.
  let pressed = false;
  addEventListener("pointerdown", () => { pressed = true; });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { pressed = false; });

  // What somebody types into or has marked stays as it is; what was clicked, or has the focus, does not.
  function isInUse(part) {
    const focused = document.activeElement;
    const marked = getSelection();
    return part.contains(focused) && focused.matches("input, select, textarea") ||
      !marked.isCollapsed && part.contains(marked.anchorNode);
  }

  // By what an element is found again in a page that was made anew.
  const name = (element) => element.tagName + (element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.textContent);

  function replace(old, fresh) {
    const places = [...old.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
    const focused = old.contains(document.activeElement) ? name(document.activeElement) : null;
    old.replaceWith(document.adoptNode(fresh));
    fresh.querySelectorAll(".scroll").forEach((part, n) => { part.scrollLeft = places[n] ?? 0; });
    if (focused) [...fresh.querySelectorAll("a, button, summary, .scroll")].find((element) => name(element) === focused)?.focus({ preventScroll: true });
  }

  // Set while the page cannot be shown, and stands for the reason.
  let reason = false;

  async function refresh() {
    const main = document.getElementById("main");
    const old = document.getElementById("fresh");
    if (!old && !reason || pressed || document.hidden || isInUse(old ?? main)) return;
    const answer = await answered(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("fresh");
    const why = page.getElementById("main");
    if (pressed || isInUse(old ?? main)) return;
    if (fresh && reason) { location.reload(); return; }
    if (fresh) { replace(old, fresh); return; }
    if (!why || isInUse(main)) { says.textContent = "This page cannot be made fresh: load it again."; return; }
    reason = true;
    replace(main, why);
    // What is gone does not come back; what is away may.
    if (answer.status === 404) disconnect();
  }

  let start = null, away = false, busy = false, last = 0, event = null;

  async function tick(message) {
    const now = JSON.parse(message.data);
    if (start !== null && start !== now.start) says.textContent = "The agent was restarted; this page is connected again.";
    else if (away) says.textContent = "Connected again.";
    start = now.start;
    away = false;
    const carried = document.getElementById("carried");
    if (carried && now.flows === null) carried.textContent = "Now: not known, the datapath does not answer.";
    else if (carried) carried.textContent = "Now: " + Math.round(now.in).toLocaleString() + " bit/s from clients, " +
      Math.round(now.out).toLocaleString() + " bit/s to clients, " + now.flows.toLocaleString() + " flows.";
    if (busy) return;
    busy = true;
    try {
      if (plot) await goOn(now);
      if (event !== now.event || performance.now() - last > 2000) {
        await refresh();
        event = now.event;
        last = performance.now();
      }
    } catch { /* The stream says when the agent is away. */ } finally { busy = false; }
  }

  // A browser has few connections to one server, six mostly, for all its pages together. A page that
  // nobody sees keeps none; of those that are seen four keep their stream, and the others look now and then.
  const STREAMS = 4, LOOK = 2000;
  let stream = null, giveBack = null, turn = 0;

  // What gives the place of a stream back; null if all are taken.
  function takePlace(n = 0) {
    if (!navigator.locks) return Promise.resolve(() => {});
    if (n === STREAMS) return Promise.resolve(null);
    return new Promise((resolve) => navigator.locks.request("harbor-stream-" + n, { ifAvailable: true }, (lock) =>
      lock ? new Promise((free) => resolve(free)) : resolve(takePlace(n + 1))));
  }

  function disconnect() {
    turn += 1;
    stream?.close();
    giveBack?.();
    stream = giveBack = null;
  }

  async function connect() {
    disconnect();
    const own = turn;
    const free = await takePlace();
    if (own !== turn || document.hidden) { free?.(); return; }
    giveBack = free;
    const again = () => { if (own === turn) connect(); };
    stream = new EventSource(of("/live"));
    stream.onmessage = (message) => {
      tick(message);
      if (!free) { stream.close(); setTimeout(again, LOOK); }
    };
    stream.onerror = () => {
      away = true;
      if (stream.readyState !== EventSource.CLOSED) { says.textContent = "The agent does not answer; trying again."; return; }
      // Refused, not lost: the session has ended, which leads away from here, or there is no room.
      setTimeout(() => fetched(location.href).then(() => {
        says.textContent = "Too many pages are kept fresh at once; this one follows when another is closed.";
      }, () => {}).finally(again), LOOK);
    };
  }

  (place ? begin() : Promise.resolve()).catch(() => {}).finally(connect);
  const redraw = () => { if (plot) draw(); };
  document.addEventListener("visibilitychange", () => document.hidden ? disconnect() : connect());
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
