"use strict";
// Small charts with a legend that reads the cursor, a table for those who do not see them, and arrow keys.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

class Chart {
  // `spec`: title, unit, format(value), stacked, range(largest), series: [{ name, colour, dash }]
  constructor(parent, spec) {
    this.spec = spec;
    this.times = [];
    this.values = [];
    this.index = null;
    this.legend = make("ul", { class: "legend" });
    this.plotted = make("div", { class: "plot", tabindex: "0", role: "img" });
    this.table = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": spec.title + " as a table" });
    this.details = make("details", {}, make("summary", {}, "As a table"), this.table);
    this.figure = make("figure", { class: "chart" }, make("figcaption", {}, spec.title, " ", make("span", {}, spec.unit)), this.legend, this.plotted, this.details);
    parent.append(this.figure);
    this.details.addEventListener("toggle", () => this.fillTable());
    this.plotted.addEventListener("keydown", (event) => this.key(event));
    this.plotted.addEventListener("blur", () => this.point(null));
    new ResizeObserver(() => this.plot && this.plot.setSize(this.size())).observe(this.plotted);
  }

  size() {
    return { width: Math.max(120, this.plotted.clientWidth), height: 172 };
  }

  // `values`: one array per series, parallel to `times`; null where nothing is known.
  show(times, series, values) {
    const changed = !this.plot || series.map((one) => one.name + one.colour).join("\n") !== this.shape;
    Object.assign(this, { times, series, values });
    if (changed) this.build();
    this.plot.setData([times, ...this.drawn()], false);
    this.plot.setScale("x", { min: times[times.length - 1] - 900, max: times[times.length - 1] });
    this.label();
    if (this.details.open && !this.table.contains(document.activeElement) && !this.table.matches(":hover")) this.fillTable();
  }

  // A stack is drawn as running sums, the whole first, so that each part is filled down to the one below.
  drawn() {
    if (!this.spec.stacked) return this.values;
    let below = this.times.map(() => 0);
    return this.values.map((part) => (below = below.map((sum, i) => sum + (part[i] || 0)))).reverse();
  }

  rebuild() {
    this.shape = null;
    if (this.plot) this.show(this.times, this.series, this.values);
  }

  build() {
    this.shape = this.series.map((one) => one.name + one.colour).join("\n");
    if (this.plot) this.plot.destroy();
    const order = this.spec.stacked ? [...this.series].reverse() : this.series;
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    this.plot = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        padding: [8, 18, 0, 0],
        cursor: { drag: { x: false, y: false }, points: { size: 6 }, y: false },
        scales: { x: { time: true, auto: false }, y: { range: (_, __, largest) => [0, this.spec.top(largest || 0)] } },
        axes: [
          { ...axis, grid: { show: false }, space: 64, size: 24, values: (_, ticks) => ticks.map(minuteTime) },
          { ...axis, size: 58, space: 34, gap: 6, values: (_, ticks) => ticks.map(this.spec.format) },
        ],
        series: [{}, ...order.map((one) => this.line(one))],
        bands: this.spec.stacked ? order.slice(1).map((_, i) => ({ series: [i + 1, i + 2] })) : [],
        hooks: { setCursor: [(plot) => this.point(plot.cursor.idx)] },
      },
      [this.times, ...this.drawn()],
      this.plotted,
    );
    this.plot.root.setAttribute("aria-hidden", "true");
  }

  line(one) {
    const stroke = colour(one.colour);
    return { stroke, width: this.spec.stacked ? 1 : 1.75, dash: one.dash ? [5, 4] : undefined, fill: this.spec.stacked ? stroke + "b0" : undefined, points: { show: () => this.times.length < 3, size: 5, fill: stroke } };
  }

  point(index) {
    if (index === this.index) return;
    this.index = index;
    this.label();
  }

  // The legend: values under the cursor, or of now.
  label() {
    const at = this.index == null ? this.times.length - 1 : Math.min(this.index, this.times.length - 1);
    const items = this.series.map((one, i) => {
      const mark = make("i", one.dash ? { class: "dash" } : {});
      mark.style.background = mark.style.borderColor = colour(one.colour);
      return make("li", {}, mark, make("span", { class: "name", title: one.name }, one.name), this.spec.format(this.values[i][at]));
    });
    if (this.index != null) items.unshift(make("li", { class: "quiet" }, clockTime(this.times[at])));
    this.legend.replaceChildren(...items);
    this.plotted.setAttribute("aria-label", this.spec.title + ", " + this.spec.unit + ". " + this.sentence(this.times.length - 1) + " Arrow keys read other moments.");
  }

  sentence(at) {
    return clockTime(this.times[at]) + ": " + this.series.map((one, i) => one.name + " " + this.spec.format(this.values[i][at])).join(", ") + ".";
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.point(null);
    if (steps === undefined || !this.plot) return;
    event.preventDefault();
    const last = this.times.length - 1;
    const at = Math.max(0, Math.min(last, (this.index == null ? last : this.index) + steps));
    this.plot.setCursor({ left: this.plot.valToPos(this.times[at], "x"), top: 10 });
    this.point(at);
    byId("reading").textContent = this.sentence(at);
  }

  // One row a minute, newest first: what a screen reader, or a copy into a mail, needs.
  fillTable() {
    if (!this.details.open || !this.times.length) return;
    const head = make("tr", {}, ...["Time", ...this.series.map((one) => one.name)].map((name) => make("th", { scope: "col" }, name)));
    const rows = [];
    for (let i = this.times.length - 1; i >= 0 && rows.length < 15; i -= 12) {
      const cells = this.series.map((_, one) => make("td", {}, this.spec.format(this.values[one][i])));
      rows.push(make("tr", {}, make("th", { scope: "row" }, clockTime(this.times[i])), ...cells));
    }
    this.table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }
}
