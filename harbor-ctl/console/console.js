// Keeps a page fresh: what changes is fetched again and put in the place of what it was, and charts go
// on. Everything on the page works without this file.
"use strict";
(() => {
  const says = document.getElementById("connection");
  if (!says) return;
  const HISTORY = 600;
  const charts = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function draw(place, columns) {
    const axis = { stroke: colour("--ink"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
    const bits = (u, values) => values.map((v) => v >= 1e9 ? v / 1e9 + " G" : v >= 1e6 ? v / 1e6 + " M" : v >= 1e3 ? v / 1e3 + " k" : v);
    place.replaceChildren();
    return new uPlot({
      width: Math.max(place.clientWidth, 240), height: 220,
      scales: { flows: { range: (u, low, high) => [0, Math.max(high, 1)] }, y: { range: (u, low, high) => [0, Math.max(high, 1000)] } },
      series: [{}, { label: "from clients, bit/s", stroke: colour("--in"), width: 2 },
        { label: "to clients, bit/s", stroke: colour("--out"), width: 2, dash: [6, 3] },
        { label: "flows", scale: "flows", stroke: colour("--flows"), width: 1 }],
      axes: [axis, { ...axis, values: bits, size: 70 }, { ...axis, scale: "flows", side: 1, grid: { show: false } }],
    }, columns, place);
  }

  async function fetched(path) {
    const answer = await fetch(path, { headers: { "X-Harbor-Fresh": "1" } });
    if (answer.status === 401) { location.assign("/sign-in"); throw new Error("signed out"); }
    if (!answer.ok) throw new Error(String(answer.status));
    return answer;
  }

  async function begin(place) {
    const port = place.dataset.port;
    const path = "/samples" + (port ? "?port=" + encodeURIComponent(port) : "");
    const chart = { place, path, port, columns: await (await fetched(path)).json() };
    chart.plot = draw(place, chart.columns);
    charts.push(chart);
  }

  async function goOn(now) {
    for (const chart of charts) {
      if (chart.port) chart.columns = await (await fetched(chart.path)).json();
      else if (now.at > (chart.columns[0].at(-1) ?? 0)) {
        [now.at, now.in, now.out, now.flows].forEach((value, n) => {
          chart.columns[n].push(value);
          if (chart.columns[n].length > HISTORY) chart.columns[n].shift();
        });
      }
      chart.plot.setData(chart.columns);
    }
  }

  function redraw() {
    for (const chart of charts) { chart.plot.destroy(); chart.plot = draw(chart.place, chart.columns); }
  }

  // Whoever is in a part that would be replaced, or presses a button there, is not disturbed.
  let pressed = false;
  addEventListener("pointerdown", () => { pressed = true; });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { pressed = false; });

  async function refresh() {
    const old = document.getElementById("fresh");
    if (!old || pressed || document.hidden || old.contains(document.activeElement)) return;
    const text = await (await fetched(location.href)).text();
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("fresh");
    if (!fresh || pressed || old.contains(document.activeElement)) return;
    const places = [...old.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
    old.replaceWith(document.adoptNode(fresh));
    fresh.querySelectorAll(".scroll").forEach((part, n) => { part.scrollLeft = places[n] ?? 0; });
  }

  let start = null, away = false, busy = false, last = 0, event = null;

  async function tick(message) {
    const now = JSON.parse(message.data);
    if (start !== null && start !== now.start) says.textContent = "The agent was restarted; this page is connected again.";
    else if (away) says.textContent = "Connected again.";
    start = now.start;
    away = false;
    const carried = document.getElementById("carried");
    if (carried) carried.textContent = "Now: " + Math.round(now.in).toLocaleString() + " bit/s from clients, " +
      Math.round(now.out).toLocaleString() + " bit/s to clients, " + now.flows.toLocaleString() + " flows on this node.";
    if (busy) return;
    busy = true;
    try {
      await goOn(now);
      if (event !== now.event || performance.now() - last > 2000) {
        await refresh();
        event = now.event;
        last = performance.now();
      }
    } catch { /* The stream says when the agent is away. */ } finally { busy = false; }
  }

  function connect() {
    const stream = new EventSource("/live");
    stream.onmessage = tick;
    stream.onerror = () => {
      away = true;
      says.textContent = "The agent does not answer; trying again.";
      if (stream.readyState !== EventSource.CLOSED) return;
      // Refused, not lost: a session does not outlive the agent that made it.
      setTimeout(() => fetched(location.href).then(connect, connect), 2000);
    };
    addEventListener("pagehide", () => stream.close());
  }

  Promise.all([...document.querySelectorAll(".chart")].map(begin)).catch(() => {}).finally(connect);
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
