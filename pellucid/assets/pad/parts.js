"use strict";
// What every part of the drawing section uses: elements, numbers in words, colours, small pictures.
const PellucidParts = (() => {
  const VIRIDIS = ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6dcd59", "fde725"];
  const SIGNED = ["2166ac", "67a9cf", "becdd7", "e1e1e1", "ebcdaa", "ef8a3c", "b35806"];

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function table(colours) {
    // 256 colours as one little-endian ABGR word each
    const parts = colours.map((colour) => [0, 2, 4].map((at) => parseInt(colour.slice(at, at + 2), 16)));
    return Uint32Array.from({ length: 256 }, (_, level) => {
      const place = (level / 255) * (parts.length - 1),
        low = Math.min(parts.length - 2, Math.floor(place));
      const [r, g, b] = [0, 1, 2].map((band) =>
        Math.round(parts[low][band] + (parts[low + 1][band] - parts[low][band]) * (place - low)),
      );
      return (255 << 24) | (b << 16) | (g << 8) | r;
    });
  }
  const COLOURS = { plain: table(VIRIDIS), signed: table(SIGNED) };

  function number(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text =
      size >= 1000 ? value.toFixed(0) : size < 0.001 ? value.toExponential(1) : value.toPrecision(3);
    return text.replace("-", "−").replace(/e([+-])/, (_, sign) => `e${sign === "-" ? "−" : ""}`);
  }
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  function percent(share) {
    if (share === 0 || share === 1) return `${share * 100} %`;
    if (share > 0.999 || share < 0.001) return share < 0.5 ? "< 0.1 %" : "> 99.9 %";
    return `${(share * 100).toFixed(1)} %`;
  }
  const whole = (count) => count.toLocaleString("en");
  const points = (tenths) =>
    `${tenths > 0 ? "+" : tenths < 0 ? "−" : ""}${(Math.abs(tenths) / 10).toFixed(1)}`;

  function argmax(values, but = -1) {
    let best = -1;
    for (let place = 0; place < values.length; place++) {
      if (place !== but && (best < 0 || values[place] > values[best])) best = place;
    }
    return best;
  }

  function gray(pixels, height, width, channels) {
    // bytes (C, H, W) as an ImageData
    const image = new ImageData(width, height),
      plane = height * width;
    for (let cell = 0; cell < plane; cell++) {
      for (let band = 0; band < 3; band++) {
        image.data[cell * 4 + band] = pixels[channels === 3 ? band * plane + cell : cell];
      }
      image.data[cell * 4 + 3] = 255;
    }
    return image;
  }

  function thumbnail(app, pixels, says) {
    const [channels, height, width] = app.shape;
    const canvas = make("canvas", { width, height, role: "img", "aria-label": says });
    canvas.getContext("2d").putImageData(gray(pixels, height, width, channels), 0, 0);
    return canvas;
  }

  function scaled(bytes) {
    return Float32Array.from(bytes, (value) => value / 255);
  }

  function choice(app, name, options, field) {
    const select = make(
      "select",
      {
        onchange: () => {
          app[field] = select.value;
          app.touched = true;
          app.changed();
          app.settle();
        },
      },
      ...options.map((option) => make("option", { value: option }, app.say(`${name}.${option}`))),
    );
    app.refreshers.push(() => {
      if (select.value !== app[field]) select.value = app[field];
    });
    return make("label", {}, app.say(name), select);
  }

  return { COLOURS, argmax, choice, gray, make, number, percent, points, scaled, signed, thumbnail, whole };
})();
