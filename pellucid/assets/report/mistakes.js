// Every mistake, sorted and filtered; tiles are made a screenful at a time. Without this the page shows the worst.

/**
 * The pixels of test pictures, for whoever draws on them.
 * @param {MistakeTable} table
 */
function testPictures(table) {
  const sample = reportPage.find("#tile").content.firstElementChild.querySelector("i").cloneNode();
  sample.style.display = "none";
  document.body.append(sample);
  const style = getComputedStyle(sample);
  const [width, height] = ["--w", "--h"].map((name) => Number(style.getPropertyValue(name)));
  /** @type {HTMLImageElement | null} */
  let sheet = null;
  const opened = async () => {
    if (sheet === null) {
      sheet = new Image();
      sheet.src = /^url\("(data:image[^"]*)"\)$/.exec(style.backgroundImage)?.[1] ?? "";
    }
    await sheet.decode();
    return sheet;
  };
  return {
    /** Whether a network of this shape (C, H, W) takes these pictures. @param {number[] | undefined} shape */
    fits: (shape) => shape !== undefined && shape[1] === height && shape[2] === width,
    /** The label of a test picture, by its place in the test set. @param {number} index */
    label: (index) => table.label[table.index.indexOf(index)],
    /**
     * The pixels (C, H, W) of a test picture, or null where the page has none.
     * @param {number} index
     * @param {number} channels
     */
    async at(index, channels) {
      const row = table.index.indexOf(index);
      if (row < 0) return null;
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
      const [x, y] = [table.position[row] % table.columns, Math.floor(table.position[row] / table.columns)];
      context.drawImage(await opened(), x * width, y * height, width, height, 0, 0, width, height);
      const { data } = context.getImageData(0, 0, width, height);
      return Uint8Array.from({ length: channels * height * width }, (_, place) =>
        data[(place % (height * width)) * 4 + Math.floor(place / (height * width))]);
    },
  };
}

/** The gallery of mistakes: what is filtered, sorted and focused is in the page's address. */
class MistakeGallery {
  static #filters = { label: "", prediction: "", source: "", from: "", to: "", order: "worst" };

  /** @type {MistakeTable} */
  #table = reportPage.readJson("listed");
  #place = reportPage.find("#browse");
  #form = reportPage.find("form", this.#place);
  #tiles = reportPage.find(".tiles", this.#place);
  #more = reportPage.find("[name=more]", this.#place);
  #template = reportPage.find("#tile");
  #dialog = reportPage.find("#large");
  #pictures = testPictures(this.#table);
  #screenful = innerWidth < 600 ? 24 : 60;
  /** Rows of the table in the order shown, of which the first `#made` have a tile. @type {number[]} */
  #order = [];
  #made = 0;
  #focused = -1;
  /** Test pictures selected on the map of pictures; null: all. @type {Set<number> | null} */
  #selected = null;

  constructor() {
    reportPage.find("#worst").remove();
    this.#place.hidden = false;
    Object.assign(window, { pellucidPictures: this.#pictures });
    this.#addChoices(this.#control("label"), this.#table.label);
    this.#addChoices(this.#control("prediction"), this.#table.prediction);
    this.#listenToForm();
    this.#listenToTiles();
    this.#listenToDialog();
    document.addEventListener("pellucid-selected", (event) => {
      const { detail } = /** @type {CustomEvent<number[] | null>} */ (event);
      this.#selected = detail && new Set(detail);
      this.#arrange();
    });
    this.#arrange();
  }

  /** Focus the next mistake, or the previous one. @param {number} by */
  step(by) {
    if (this.#order.length) this.#focus(Math.min(this.#order.length - 1, Math.max(0, this.#focused + by)));
  }

  /** Put the pen into the field that filters by source. */
  focusFilter() {
    this.#control("source").focus();
  }

  /**
   * What an address names: #m123, or #mistakes;label=4;prediction=9;from=0.9;to=1;order=confidence;source=a;m=123.
   * It is checked like anything else that comes from outside.
   * @param {string} address
   */
  open(address) {
    const parts = Object.fromEntries(address.slice(1).split(";").slice(1).map((part) => {
      const [field, value = ""] = part.split(/=(.*)/s);
      try { return [field, decodeURIComponent(value)]; } catch { return [field, ""]; }
    }));
    for (const [field, usual] of Object.entries(MistakeGallery.#filters)) {
      const control = this.#control(field);
      control.value = Object.hasOwn(parts, field) ? parts[field] : usual;
      if (control.selectedIndex === -1) control.value = usual;
    }
    this.#arrange();
    const index = Number((/^#m(\d+)$/.exec(address) || [])[1] ?? parts.m ?? NaN);
    const place = this.#order.findIndex((row) => this.#table.index[row] === index);
    if (place >= 0) this.#focus(place);
    else this.#place.scrollIntoView();
  }

  /** @param {string} name @returns {any} */
  #control(name) {
    return this.#form.elements.namedItem(name);
  }

  /** @param {HTMLSelectElement} select @param {number[]} labels */
  #addChoices(select, labels) {
    for (const label of new Set([...labels].sort((a, b) => a - b))) {
      select.add(new Option(reportPage.brief(this.#table.classes[label], 24), String(label)));
    }
  }

  /** @param {number} row */
  #source(row) {
    return this.#table.source[row] || reportPage.translate("picture", { number: this.#table.index[row] });
  }

  /** @param {number} row */
  #tile(row) {
    const { findAll, find, brief, chance, translate } = reportPage;
    const table = this.#table;
    const figure = this.#template.content.firstElementChild.cloneNode(true);
    const [label, prediction] = [table.classes[table.label[row]], table.classes[table.prediction[row]]];
    const [confidence, labelProbability] = [table.confidence[row], table.label_probability[row]];
    figure.id = `m${table.index[row]}`;
    const picture = find("i", figure);
    picture.style.setProperty("--x", table.position[row] % table.columns);
    picture.style.setProperty("--y", Math.floor(table.position[row] / table.columns));
    picture.setAttribute("role", "img");
    picture.title = translate("tile", {
      source: this.#source(row), label, prediction,
      confidence: chance(confidence), label_probability: chance(labelProbability),
    });
    picture.setAttribute("aria-label", picture.title);
    const [predictionName, labelName, source] = findAll("bdi", figure);
    for (const [element, text] of [[predictionName, prediction], [labelName, label]]) {
      element.textContent = brief(text, 24);
      element.title = text;
    }
    source.textContent = brief(table.source[row], 40);
    source.parentElement.title = table.source[row];
    findAll("data", figure).forEach((element, place) => {
      const value = [confidence, labelProbability][place];
      element.textContent = chance(value);
      element.value = value;
    });
    return figure;
  }

  #grow(until = this.#made + this.#screenful) {
    const fragment = document.createDocumentFragment();
    for (; this.#made < Math.min(until, this.#order.length); this.#made += 1) {
      fragment.append(this.#tile(this.#order[this.#made]));
    }
    this.#tiles.append(fragment);
    this.#more.hidden = this.#made >= this.#order.length;
  }

  /** Filter and sort as the form asks. */
  #arrange() {
    const table = this.#table;
    const { label, prediction, source } = this.#form.elements;
    const text = source.value.trim().toLowerCase();
    const [least, most] = [Number(this.#control("from").value), Number(this.#control("to").value || 1)];
    this.#order = table.index.map((_, row) => row).filter((row) =>
      (label.value === "" || table.label[row] === Number(label.value)) &&
      (prediction.value === "" || table.prediction[row] === Number(prediction.value)) &&
      table.confidence[row] >= least && table.confidence[row] <= most &&
      (this.#selected === null || this.#selected.has(table.index[row])) &&
      (text === "" || table.source[row].toLowerCase().includes(text)));
    const margin = (/** @type {number} */ row) => table.confidence[row] - table.label_probability[row];
    /** @type {Record<string, (a: number, b: number) => number>} */
    const orders = {
      confidence: (a, b) => table.confidence[b] - table.confidence[a],
      close: (a, b) => margin(a) - margin(b),
      index: (a, b) => table.index[a] - table.index[b],
      source: (a, b) => table.source[a].localeCompare(table.source[b], "en", { numeric: true }),
    };
    const order = orders[this.#control("order").value];
    if (order) this.#order.sort(order);
    this.#tiles.replaceChildren();
    this.#made = 0;
    this.#focused = -1;
    const [shown, all] = [this.#order.length, table.index.length].map((count) => count.toLocaleString("en"));
    reportPage.find(".tally", this.#place).textContent = reportPage.translate("tally", { shown, all });
    this.#grow();
  }

  /** The address of what is filtered and focused. */
  #address() {
    const changed = Object.entries(MistakeGallery.#filters)
      .map(([field, usual]) => [field, this.#control(field).value, usual])
      .filter(([, value, usual]) => value !== usual)
      .map(([field, value]) => `${field}=${encodeURIComponent(value)}`);
    const row = this.#order[this.#focused];
    const index = row === undefined ? null : this.#table.index[row];
    if (!changed.length) return index === null ? "#mistakes" : `#m${index}`;
    return ["#mistakes", ...changed, ...(index === null ? [] : [`m=${index}`])].join(";");
  }

  #remember() {
    history.replaceState(null, "", this.#address());
  }

  /** @param {number} place in the order shown */
  #focus(place) {
    this.#focused = place;
    if (place >= this.#made) this.#grow(place + this.#screenful);
    const figure = this.#tiles.children[place];
    figure.focus({ preventScroll: true });
    figure.scrollIntoView({ block: "nearest" });
    this.#remember();
  }

  /** @param {number} place in the order shown */
  #enlarge(place) {
    const { find } = reportPage;
    this.#focus(place);
    const figure = this.#tiles.children[place].cloneNode(true);
    figure.removeAttribute("id");
    figure.removeAttribute("tabindex");
    find(".shown", this.#dialog).replaceChildren(figure);
    find("[name=previous]", this.#dialog).disabled = place === 0;
    find("[name=next]", this.#dialog).disabled = place === this.#order.length - 1;
    const draw = find("a", this.#dialog);
    const { pellucid } = /** @type {any} */ (window);
    draw.hidden = !document.getElementById("live-data") || !this.#pictures.fits(pellucid?.runs[0]?.shape);
    draw.href = `#draw;t=${this.#table.index[this.#order[place]]}`;
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #listenToDialog() {
    const { find } = reportPage;
    const step = (/** @type {number} */ by) =>
      this.#enlarge(Math.min(this.#order.length - 1, Math.max(0, this.#focused + by)));
    find("[name=previous]", this.#dialog).addEventListener("click", () => step(-1));
    find("[name=next]", this.#dialog).addEventListener("click", () => step(1));
    find("a", this.#dialog).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const by = { ArrowLeft: -1, k: -1, ArrowRight: 1, j: 1 }[event.key];
      if (by) step(by);
    });
    this.#dialog.addEventListener("close", () => this.#tiles.children[this.#focused]?.focus({ preventScroll: true }));
  }

  #listenToTiles() {
    this.#tiles.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const figure = event.target instanceof Element ? event.target.closest(".tile") : null;
      if (figure && !getSelection()?.toString()) this.#enlarge([...this.#tiles.children].indexOf(figure));
    });
    this.#tiles.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const here = [...this.#tiles.children].indexOf(event.target);
      if (here < 0) return;
      const columns = getComputedStyle(this.#tiles).gridTemplateColumns.split(" ").length;
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      if (by) this.#focus(Math.min(this.#order.length - 1, Math.max(0, here + by)));
      else if (event.key === "Enter") this.#enlarge(here);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#more.addEventListener("click", () => this.#grow());
  }

  #listenToForm() {
    this.#form.addEventListener("input", () => {
      this.#arrange();
      this.#remember();
    });
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    this.#control("save").addEventListener("click", () => this.#save());
    const button = this.#control("copy");
    const label = button.textContent;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(this.#order.map((row) => this.#source(row)).join("\n"));
        button.textContent = reportPage.translate("copied", { count: this.#order.length });
      } catch {
        button.textContent = reportPage.translate("uncopied");
      }
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }

  /** The mistakes shown as a CSV file. */
  #save() {
    const table = this.#table;
    const quoted = (/** @type {string} */ text) =>
      /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const rows = this.#order.map((row) => [
      table.index[row], table.source[row], table.classes[table.label[row]], table.classes[table.prediction[row]],
      table.confidence[row], table.label_probability[row],
    ]);
    const header = ["index", "source", "label", "prediction", "confidence", "label_probability"];
    const text = [header, ...rows].map((row) => row.map((cell) => quoted(String(cell))).join(",")).join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`\ufeff${text}\n`], { type: "text/csv" })); // the mark: UTF-8, for Excel
    link.download = "mistakes.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}
