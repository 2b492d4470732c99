"use strict";
// Numbers to colours and pixels to pictures: plots/images.py in the page.
const PellucidImages = (() => {
  /** 256 colours between even anchors, one little-endian ABGR word each. @param {string[]} anchors */
  function table(anchors) {
    const parts = anchors.map((colour) => [0, 2, 4].map((at) => parseInt(colour.slice(at, at + 2), 16)));
    return Uint32Array.from({ length: 256 }, (_, level) => {
      const at = (level / 255) * (parts.length - 1),
        low = Math.min(parts.length - 2, Math.floor(at));
      const [r, g, b] = [0, 1, 2].map((band) =>
        Math.round(parts[low][band] + (parts[low + 1][band] - parts[low][band]) * (at - low)),
      );
      return (255 << 24) | (b << 16) | (g << 8) | r;
    });
  }
  const COLOURS = {
    viridis: table(PellucidConstants.colours.viridis),
    signed: table(PellucidConstants.colours.signed),
  };

  /** The colour of a signed value, -reach to reach, as an ABGR word. @param {number} value @param {number} reach */
  const signedColour = (value, reach) => COLOURS.signed[reach ? Math.round((value / reach) * 127.5 + 127.5) : 128];

  /** Bytes (C, H, W) as an ImageData. @param {Uint8Array} pixels @param {number[]} shape */
  function imageOf(pixels, [channels, height, width]) {
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

  /** Bytes as 0..1. @param {Uint8Array} bytes */
  function scaled(bytes) {
    return Float32Array.from(bytes, (value) => value / 255);
  }

  /** The index of the highest value, one excepted. @param {ArrayLike<number>} values */
  function argmax(values, but = -1) {
    let best = -1;
    for (let at = 0; at < values.length; at++) {
      if (at !== but && (best < 0 || values[at] > values[best])) best = at;
    }
    return best;
  }

  /** The largest absolute value. @param {Float32Array} values */
  const reachOf = (values, least = 0) => values.reduce((most, value) => Math.max(most, Math.abs(value)), least);

  return { COLOURS, argmax, imageOf, reachOf, scaled, signedColour };
})();
