"use strict";
// Draws the charts from the page's data, and lets the controls act on all of them at once.
(() => {
  document.getElementById("without-script").remove();
  const data = JSON.parse(document.getElementById("data").textContent);
  const figures = data.charts.map((chart) => ({
    chart, element: document.getElementById("chart-" + chart.key), stale: true, seen: false,
  }));
  const hidden = new Set();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const touch = window.matchMedia("(pointer: coarse)");
  let axis = "update";
  let logarithmic = false;
  let printing = false;

  // Plotly reads some HTML in text: a user's words are not to be read.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isDark = () => dark.matches && !printing;
  const faded = (colour, opacity) => {
    const part = (start) => parseInt(colour.slice(start, start + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},${opacity})`;
  };

  const dashes = (line) => line.dashes === "none" ? "solid" : line.dashes.split(" ").map((length) => length + "px").join(",");

  const isTimed = (chart) => chart.lines.every((line) => "group" in line);
  const over = (chart) => isTimed(chart) ? axis : chart.x_title;

  function positions(line) {
    if (!("group" in line) || axis === "update") return line.x;
    if (axis === "second") return line.second;
    const group = data.groups[line.group];
    const rate = axis === "epoch" ? group.epochs_per_update : group.examples_per_update;
    // A training elsewhere may not tell its epochs: its points have no place there.
    return line.x.map((update) => rate === null ? null : update * rate);
  }

  // A browser bears a few dozen traces and not hundreds: many arms that look alike share a trace, with gaps between.
  const many = data.groups.length > 0 && data.charts.every((chart) => chart.lines.every((line) => line.marker === null));

  // The stretches, from and to, in which a band has both ends.
  function pieces(low, high) {
    const found = [];
    low.forEach((_, place) => {
      if (low[place] === null || high[place] === null) return;
      if (found.length && found.at(-1)[1] === place) found.at(-1)[1] = place + 1; else found.push([place, place + 1]);
    });
    return found;
  }

  function traces(chart) {
    const bands = new Map();
    const lines = new Map();
    function extend(traces, key, start, x, y, points) {
      if (!traces.has(key)) traces.set(key, { type: "scatter", x: [], y: [], customdata: [], ...start });
      const trace = traces.get(key);
      if (trace.x.length) { trace.x.push(null); trace.y.push(null); trace.customdata.push(null); }
      for (let place = 0; place < x.length; place += 1) {
        trace.x.push(x[place]); trace.y.push(y[place]); trace.customdata.push(points[place]);
      }
    }
    chart.lines.forEach((line, index) => {
      if (hidden.has(line.group)) return;
      const x = positions(line);
      const name = plain(line.label);
      const colour = isDark() ? line.dark : line.light;
      const isPoints = line.style === "points";
      if (line.low && !isPoints) {
        const start = {
          mode: "lines", fill: "toself", fillcolor: faded(colour, isDark() ? 0.22 : 0.15), line: { width: 0 }, hoverinfo: "skip", name,
        };
        pieces(line.low, line.high).forEach((piece) => {
          const [around, low, high] = [x, line.low, line.high].map((values) => values.slice(...piece));
          extend(bands, many ? colour : index, start, around.concat(around.slice().reverse()), high.concat(low.reverse()), []);
        });
      }
      const errors = !line.low || !isPoints ? {} : { error_y: {
        type: "data", symmetric: false, color: colour, thickness: 1.2, width: 3,
        array: line.high.map((high, place) => high - line.y[place]), arrayminus: line.low.map((low, place) => line.y[place] - low),
      } };
      const range = line.low ? "  (%{customdata[1]:.4~g} to %{customdata[2]:.4~g})" : "";
      extend(lines, many ? colour : index, {
        mode: isPoints ? "markers" : line.marker === null ? "lines" : "lines+markers", name, ...errors,
        line: { color: colour, width: many ? 1.2 : 2, dash: dashes(line) },
        marker: { symbol: line.marker ?? "circle", size: 7, color: colour, maxdisplayed: isPoints || x.length <= 24 ? 0 : 8 },
        hovertemplate: many ? `%{customdata[0]}<br>${over(chart)} %{x}: %{y:.4~g}${range}<extra></extra>` : `%{y:.4~g}${range}`,
      }, x, line.y, line.y.map((_, place) => line.low ? [name, line.low[place], line.high[place]] : [name]));
    });
    return [...bands.values(), ...lines.values()];
  }

  function layout(chart) {
    const onLogarithm = chart.logarithmic_x || (logarithmic && isTimed(chart));
    const ink = printing ? "#222222" : style("--ink");
    const rule = printing ? "#DDDDDD" : style("--rule");
    const shared = {
      gridcolor: rule, linecolor: rule, zerolinecolor: rule, tickcolor: rule, automargin: true, ticks: "outside",
      minexponent: 5,
    };
    // Over two decades powers of ten are enough, below a factor of five plotly counts evenly; between, it is 1, 2, 5, 10.
    const logarithms = (values) => {
      const known = values.filter((value) => value > 0);
      const [low, high] = [Math.min(...known), Math.max(...known)];
      if (high >= 100 * low) return { type: "log", dtick: 1, minor: { dtick: "D1", ticks: "outside", ticklen: 3, tickcolor: rule } };
      if (high < 5 * low) return { type: "log" };
      const powers = [-1, 0, 1, 2].map((power) => 10 ** (Math.floor(Math.log10(low)) + power));
      return { type: "log", tickvals: powers.flatMap((power) => [power, 2 * power, 5 * power]) };
    };
    const shown = chart.lines.filter((line) => !hidden.has(line.group));
    const isWhole = over(chart) === "update" || over(chart) === "example";
    const titled = (text) => ({ text: plain(text), standoff: 8, font: { size: printing ? 10 : 13 } });
    return {
      width: printing ? 330 : undefined, height: printing ? 190 : narrow.matches ? 280 : 320, autosize: !printing,
      margin: { l: 48, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: printing ? 10 : 13, color: ink }, separators: ".,", showlegend: false,
      uirevision: `${axis} ${onLogarithm}`,
      hovermode: many || shown.length > 8 ? "closest" : "x unified", hoverdistance: 40,
      hoverlabel: { bgcolor: style("--raised"), bordercolor: rule, font: { color: ink, size: 13 }, namelength: 30 },
      dragmode: touch.matches ? false : "zoom",
      xaxis: {
        ...shared, ...(onLogarithm ? logarithms(shown.flatMap(positions)) : { type: "linear" }), exponentformat: "SI", hoverformat: isWhole ? ",.0f" : ".4~g",
        title: titled(over(chart) + (onLogarithm ? " (logarithmic)" : "")),
        spikethickness: 1, spikedash: "dot", spikecolor: style("--soft"), nticks: narrow.matches ? 5 : 8,
      },
      yaxis: {
        ...shared, ...(chart.logarithmic_y ? logarithms(shown.flatMap((line) => line.y)) : { type: "linear", rangemode: chart.from_zero ? "tozero" : "normal" }),
        exponentformat: "none", nticks: 7, title: titled(chart.y_title + (chart.logarithmic_y && chart.y_title ? " (logarithmic)" : "")),
      },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--soft"), activecolor: ink },
    };
  }

  const config = {
    responsive: true, displaylogo: false, displayModeBar: touch.matches ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };

  function draw(figure) {
    figure.stale = false;
    Plotly.react(figure.element, traces(figure.chart), layout(figure.chart), config);
  }

  // One chart at a time, so that the page answers meanwhile; what changes meanwhile is drawn with the charts to come.
  let waiting = false;
  function drawNext() {
    const next = figures.find((figure) => figure.seen && figure.stale);
    waiting = next !== undefined;
    if (!waiting) return;
    draw(next);
    setTimeout(drawNext);
  }
  function drawSoon() {
    if (waiting) return;
    waiting = true;
    setTimeout(drawNext);
  }
  function refresh() {
    figures.forEach((figure) => { figure.stale = true; });
    drawSoon();
  }

  // Few curves are all drawn at once; of many a chart is drawn when it comes into sight, and anew there when something
  // has changed since.
  figures.forEach((figure) => { figure.seen = !many; });
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const figure = figures.find((one) => one.element === entry.target);
    figure.seen = !many || entry.isIntersecting;
    drawSoon();
  }), { rootMargin: "200px" });
  figures.forEach((figure) => watcher.observe(figure.element));

  const boxes = Array.from(document.querySelectorAll("#arms input[type=checkbox]"));
  function switchArm(box) {
    const index = Number(box.value);
    if (box.checked) hidden.delete(index); else hidden.add(index);
  }
  boxes.forEach((box) => {
    switchArm(box);
    box.addEventListener("change", () => { switchArm(box); refresh(); });
  });
  document.querySelectorAll("button[data-switch]").forEach((button) => button.addEventListener("click", () => {
    boxes.forEach((box) => {
      if (box.closest("label").hidden) return;
      box.checked = button.dataset.switch === "on";
      switchArm(box);
    });
    refresh();
  }));
  const search = document.getElementById("arm-search");
  if (search) search.addEventListener("input", () => boxes.forEach((box) => {
    const label = box.closest("label");
    label.hidden = !label.textContent.toLowerCase().includes(search.value.toLowerCase());
  }));
  const axisChoice = document.getElementById("axis");
  const logarithmicChoice = document.getElementById("logarithmic");
  function readAxis() { axis = axisChoice.value; logarithmic = logarithmicChoice.checked; }
  if (axisChoice) {
    readAxis();
    [axisChoice, logarithmicChoice].forEach((control) => control.addEventListener("change", () => { readAxis(); refresh(); }));
  }
  [dark, narrow].forEach((query) => query.addEventListener("change", refresh));

  // Paper is white, as wide as it is, and cannot be clicked: all is opened and drawn for it.
  const closed = [];
  window.addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll("details:not([open])").forEach((details) => { closed.push(details); details.open = true; });
    figures.forEach(draw);
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    closed.splice(0).forEach((details) => { details.open = false; });
    figures.forEach(draw);
  });
})();
