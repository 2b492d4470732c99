"use strict";
// How the value of a cell came about, in words and numbers.
const PellucidArithmetic = (() => {
  const { number, signed } = PellucidFormatting;
  const { button, heading, make, quiet } = PellucidParts;
  const PRODUCTS = 6, // listed of a sum
    CELLS = 16, // listed of a pooling
    TAPS = 25; // of the largest kernel written out

  /** Names of layers, the picture among them. @param {Say} say @param {string[]} names */
  const namesOf = (say, names) => names.map((name) => (name ? PellucidLayerNames.title(say, name) : say("sum.picture"))).join(", ");

  /** @param {Page} page @param {Run} run @param {boolean} flat @param {Trace | null} trace  null while torch is asked */
  function arithmetic({ say }, run, flat, trace) {
    const cell = flat || !trace ? "" : ` ${say("sum.at", { row: trace.row + 1, column: trace.column + 1 })}`;
    const title = heading(run.view.heads, `${say("sum")}${cell}`, true);
    if (!trace) return [title, quiet(say("sum.waiting"))];
    return [title, ...partsOf(say, run, trace), ...followed(say, trace)];
  }

  /** @param {Say} say @param {Run} run @param {Trace} trace */
  function partsOf(say, run, trace) {
    if (trace.kind === "conv2d") return convolution(say, trace);
    if (trace.kind === "linear" || trace.kind === "matmul") return dense(say, trace);
    if (trace.kind === "block") return block(say, run, trace);
    const parts = trace.parts || [];
    if (trace.kind.includes("pool")) {
      const cells = parts.slice(0, CELLS).map(number).join(", ") + (parts.length > CELLS ? ", …" : "");
      const key = trace.kind.includes("max") ? "sum.pool.max" : "sum.pool.average";
      return [make("p", {}, say(key, { cells, value: number(trace.pooled || 0) }))];
    }
    if (!parts.length) return [make("p", {}, say("sum.other", { value: number(trace.value) }))];
    const rows = parts.map((part, at) =>
      make(
        "li",
        {},
        make("span", {}, say("sum.given", { layer: namesOf(say, trace.received[at]) })),
        make("span", {}, number(part)),
      ),
    );
    return [make("ul", { class: "live-parts" }, ...rows)];
  }

  /** A layer made of others has no kernel of its own: they can be opened. @param {Say} say @param {Run} run @param {Trace} trace */
  function block(say, run, trace) {
    const value = number(trace.value);
    if (!trace.inside.length) return [make("p", {}, say("sum.several", { value }))];
    const buttons = trace.inside.map((layer) => button(PellucidLayerNames.title(say, layer.name), () => run.view.reveal(layer)));
    return [make("p", {}, say("sum.block", { value })), make("p", { class: "live-tools" }, ...buttons)];
  }

  /** What the layer does after its sum, or instead of one. @param {Say} say @param {Trace} trace */
  function followed(say, { after, value }) {
    if (!after.length) return [];
    const steps = after.map((step) => {
      const result = number(step.value);
      return step.factor === undefined || step.term === undefined
        ? say("sum.step", { name: step.name.replaceAll("_", " "), value: result })
        : say("sum.norm", { factor: number(step.factor), term: signed(step.term), value: result });
    });
    const last = after[after.length - 1].value;
    const silenced = Math.abs(last - value) > 1e-4 * Math.max(1, Math.abs(last)); // switched off
    if (silenced) steps.push(say("sum.step", { name: say("off"), value: number(value) }));
    return [make("p", {}, say("sum.after", { steps: steps.join(" → ") }))];
  }

  /** @param {Say} say @param {Trace} trace */
  function totals(say, { total = 0, bias = 0 }) {
    const numbers = { products: number(total - bias), bias: number(bias), total: number(total) };
    return make("p", {}, say("sum.total", numbers));
  }

  /** @param {Trace} trace */
  const strongestFirst = ({ products = [] }) => [...products].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));

  /** @param {Say} say @param {Trace} trace */
  function convolution(say, trace) {
    const products = strongestFirst(trace),
      [{ channel, kernel, patch }] = products,
      [kh, kw] = trace.kernel || [1, 1];
    const rows = Array.from({ length: kernel && patch && kh * kw <= TAPS ? kh : 0 }, (_, row) => {
      const cells = Array.from({ length: kw }, (__, column) => {
        const tap = row * kw + column;
        return make("td", {}, `${number(patch ? patch[tap] : 0)} × ${number(kernel ? kernel[tap] : 0)}`);
      });
      return make("tr", {}, ...cells);
    });
    const table = make("table", { class: "live-patch" }, make("tbody", {}, ...rows));
    return [
      quiet(say("sum.strongest", { channel: channel + 1 })),
      make("div", { class: "live-wide", tabindex: 0 }, table),
      ...(products.length > 1 ? [shortList(say, products, (product) => signed(product.sum))] : []),
      totals(say, trace),
    ];
  }

  /** @param {Say} say @param {Trace} trace */
  function dense(say, trace) {
    const list = shortList(say, strongestFirst(trace), ({ input = 0, factor = 0, sum }) =>
      say("sum.product", { input: number(input), factor: number(factor), sum: signed(sum) }),
    );
    return [list, totals(say, trace)];
  }

  /** @param {Say} say @param {Product[]} products @param {(product: Product) => string} text */
  function shortList(say, products, text) {
    const rest = products.slice(PRODUCTS);
    const rows = products.slice(0, PRODUCTS).map((product) => {
      const input = make("span", {}, say("sum.unit", { channel: product.channel + 1 }));
      return make("li", {}, input, make("span", {}, text(product)));
    });
    if (rest.length) {
      const sum = rest.reduce((total, product) => total + product.sum, 0);
      rows.push(make("li", {}, say("sum.rest", { count: rest.length, sum: signed(sum) })));
    }
    return make("ul", { class: "live-parts" }, ...rows);
  }

  return { arithmetic, namesOf };
})();
