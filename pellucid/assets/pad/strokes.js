"use strict";
// From a drawing to pixels: pad/strokes.py in the page, byte for byte. Only exact operations of doubles, in its order.
const PellucidStrokes = (() => {
  const { pad: PAD, smallest: SMALLEST } = PellucidConstants.strokes;

  /** @param {Point[][]} strokes @param {0 | 1} axis */
  function extent(strokes, axis) {
    let low = Infinity,
      high = -Infinity;
    for (const stroke of strokes) {
      for (const point of stroke) {
        low = Math.min(low, point[axis]);
        high = Math.max(high, point[axis]);
      }
    }
    return [low, high];
  }

  /** The drawing as `rule` would have made it, (size x size). @param {Point[][]} strokes @param {RuleData} rule */
  function place(strokes, rule, pen = rule.pen) {
    const drawn = strokes.filter((stroke) => stroke.length);
    if (!drawn.length) return new Uint8Array(rule.size * rule.size);
    const mass = rule.centre === "mass";
    const [high, wide] = mass ? rule.box : [rule.size, rule.size];
    const inked = bytes(coverage(fitted(drawn, rule, pen, [high / 2, wide / 2]), high, wide, pen));
    return mass ? centred(inked, high, wide, rule.size) : inked;
  }

  /**
   * The drawing just where it is on the pad.
   * @param {Point[][]} strokes @param {number} height @param {number} width @param {number} pen
   */
  function drawFree(strokes, height, width, pen) {
    const drawn = strokes.filter((stroke) => stroke.length);
    if (!drawn.length) return new Uint8Array(height * width);
    const down = height / PAD,
      across = width / PAD;
    /** @type {Point[][]} */
    const lines = drawn.map((stroke) => stroke.map(([x, y]) => [x * across, y * down]));
    return bytes(coverage(lines, height, width, pen));
  }

  /** @param {Point[][]} strokes @param {RuleData} rule @param {number} pen @param {Point} middle @returns {Point[][]} */
  function fitted(strokes, rule, pen, middle) {
    const [left, right] = extent(strokes, 0),
      [top, bottom] = extent(strokes, 1);
    const across = (rule.box[1] - pen) / Math.max(right - left, SMALLEST);
    const down = (rule.box[0] - pen) / Math.max(bottom - top, SMALLEST);
    const zoom = Math.min(across, down);
    const x0 = (left + right) / 2,
      y0 = (top + bottom) / 2;
    return strokes.map((stroke) =>
      stroke.map(([x, y]) => [(x - x0) * zoom + middle[1], (y - y0) * zoom + middle[0]]),
    );
  }

  /** @param {Point[][]} lines @param {number} height @param {number} width @param {number} pen */
  function coverage(lines, height, width, pen) {
    const nearest = new Float64Array(height * width).fill(Infinity);
    const reach = pen / 2 + 0.5; // a pixel whose middle is farther than this stays black
    for (const line of lines) {
      line.forEach(([ax, ay], place) => {
        const [bx, by] = line[Math.min(place + 1, line.length - 1)];
        const vx = bx - ax,
          vy = by - ay,
          length = vx * vx + vy * vy;
        const top = Math.max(0, Math.floor(Math.min(ay, by) - reach - 1));
        const bottom = Math.min(height, Math.ceil(Math.max(ay, by) + reach + 1));
        const left = Math.max(0, Math.floor(Math.min(ax, bx) - reach - 1));
        const right = Math.min(width, Math.ceil(Math.max(ax, bx) + reach + 1));
        for (let row = top; row < bottom; row++) {
          const y = row + 0.5;
          for (let column = left; column < right; column++) {
            const x = column + 0.5;
            let along = length > 0 ? ((x - ax) * vx + (y - ay) * vy) / length : 0;
            along = Math.min(1, Math.max(0, along));
            const dx = x - (ax + along * vx),
              dy = y - (ay + along * vy),
              squared = dx * dx + dy * dy;
            const cell = row * width + column;
            if (squared < nearest[cell]) nearest[cell] = squared;
          }
        }
      });
    }
    return nearest.map((squared) => Math.min(1, Math.max(0, reach - Math.sqrt(squared))));
  }

  /** @param {Float64Array} ink */
  function bytes(ink) {
    let most = 0;
    for (const value of ink) most = Math.max(most, value);
    const result = new Uint8Array(ink.length);
    if (most > 0)
      ink.forEach((value, cell) => {
        result[cell] = Math.floor((value / most) * 255 + 0.5);
      });
    return result;
  }

  /** @param {number[]} sums @param {number} size */
  function offset(sums, size) {
    const moment = sums.reduce((sum, value, at) => sum + value * (2 * at + 1), 0);
    return Math.trunc(size / 2 + 1 - moment / (2 * sums.reduce((sum, value) => sum + value, 0)));
  }

  /** @param {Uint8Array} inked @param {number} height @param {number} width @param {number} size */
  function centred(inked, height, width, size) {
    const rows = Array(height).fill(0),
      columns = Array(width).fill(0);
    inked.forEach((value, cell) => {
      rows[Math.floor(cell / width)] += value;
      columns[cell % width] += value;
    });
    const down = offset(rows, size),
      across = offset(columns, size),
      placed = new Uint8Array(size * size);
    for (let row = Math.max(0, -down); row < Math.min(height, size - down); row++) {
      for (let column = Math.max(0, -across); column < Math.min(width, size - across); column++) {
        placed[(row + down) * size + column + across] = inked[row * width + column];
      }
    }
    return placed;
  }

  /**
   * White ink on black, of any size, as `rule` would have made it.
   * @param {Uint8Array} pixels @param {number} height @param {number} width @param {RuleData} rule
   */
  function placePicture(pixels, height, width, rule) {
    let top = height,
      bottom = -1,
      left = width,
      right = -1;
    pixels.forEach((value, cell) => {
      if (!value) return;
      const row = Math.floor(cell / width),
        column = cell % width;
      top = Math.min(top, row);
      bottom = Math.max(bottom, row);
      left = Math.min(left, column);
      right = Math.max(right, column);
    });
    if (bottom < 0) return new Uint8Array(rule.size * rule.size);
    const high = bottom - top + 1,
      wide = right - left + 1;
    const step = Math.max(high / rule.box[0], wide / rule.box[1]);
    const mass = rule.centre === "mass",
      [rows, columns] = mass ? rule.box : [rule.size, rule.size];
    /** @type {Point} */
    const start = [top + high / 2 - (rows * step) / 2, left + wide / 2 - (columns * step) / 2];
    const shrunk = bytes(sharedOut(pixels, [height, width], [rows, columns], start, step));
    return mass ? centred(shrunk, rows, columns, rule.size) : shrunk;
  }

  /**
   * Every pixel's ink shared out over the cells it lies under.
   * @param {Uint8Array} pixels @param {[number, number]} source @param {[number, number]} target
   * @param {Point} start @param {number} step
   */
  function sharedOut(pixels, [height, width], [rows, columns], start, step) {
    const across = new Float64Array(height * columns),
      shared = new Float64Array(rows * columns);
    overlaps(columns, start[1], step, width, (weight, column, at) => {
      for (let row = 0; row < height; row++)
        across[row * columns + at] += weight * pixels[row * width + column];
    });
    overlaps(rows, start[0], step, height, (weight, row, at) => {
      for (let column = 0; column < columns; column++) {
        shared[at * columns + column] += weight * across[row * columns + column];
      }
    });
    return shared;
  }

  /**
   * @param {number} size @param {number} start @param {number} step @param {number} source
   * @param {(weight: number, pixel: number, at: number) => void} visit
   */
  function overlaps(size, start, step, source, visit) {
    for (let at = 0; at < size; at++) {
      const low = start + at * step,
        high = start + (at + 1) * step;
      for (let pixel = Math.max(0, Math.floor(low)); pixel < Math.min(source, Math.ceil(high)); pixel++) {
        visit(Math.min(pixel + 1, high) - Math.max(pixel, low), pixel, at);
      }
    }
  }

  /**
   * A photograph or scan of writing as white ink on black.
   * @param {Uint8Array} pixels @param {number} height @param {number} width
   */
  function asInk(pixels, height, width) {
    const border = [];
    for (let cell = 0; cell < pixels.length; cell++) {
      const row = Math.floor(cell / width),
        column = cell % width;
      if (row === 0 || row === height - 1 || column === 0 || column === width - 1) border.push(pixels[cell]);
    }
    border.sort((a, b) => a - b);
    let level = border[Math.floor(border.length / 2)];
    const turned = level > 127;
    if (turned) level = 255 - level;
    const ink = Uint8Array.from(pixels, (value) => Math.max(0, (turned ? 255 - value : value) - level));
    const threshold = otsu(ink);
    return ink.map((value) => (2 * value >= threshold ? value : 0));
  }

  /** @param {Uint8Array} ink */
  function otsu(ink) {
    const counts = Array(256).fill(0);
    for (const value of ink) counts[value] += 1;
    const moment = counts.reduce((sum, count, level) => sum + level * count, 0);
    let best = -1,
      found = 1,
      below = 0,
      belowMoment = 0;
    for (let level = 1; level < 256; level++) {
      below += counts[level - 1];
      belowMoment += (level - 1) * counts[level - 1];
      const above = ink.length - below;
      if (below === 0 || above === 0) continue;
      const apart = belowMoment / below - (moment - belowMoment) / above;
      const between = below * above * apart * apart;
      if (between > best) {
        best = between;
        found = level;
      }
    }
    return found;
  }

  /**
   * What pad/strokes.py `measure` finds of one picture.
   * @param {Uint8Array} pixels @param {number} height @param {number} width
   * @returns {Record<string, number>}
   */
  function measure(pixels, height, width) {
    let total = 0,
      edge = 0,
      rows = 0,
      columns = 0,
      top = height,
      bottom = -1,
      left = width,
      right = -1;
    /** @param {number} row @param {number} column */
    const at = (row, column) => (row < height && column < width ? pixels[row * width + column] / 255 : 0);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const ink = at(row, column),
          down = at(row + 1, column) - ink,
          across = at(row, column + 1) - ink;
        total += ink;
        edge += Math.sqrt(down * down + across * across);
        rows += ink * row;
        columns += ink * column;
        if (ink < 0.5) continue;
        top = Math.min(top, row);
        bottom = Math.max(bottom, row);
        left = Math.min(left, column);
        right = Math.max(right, column);
      }
    }
    const some = Math.max(total, 1e-9);
    return {
      "stroke width": (2 * total) / Math.max(edge, 1e-9),
      size: bottom < 0 ? 0 : Math.max(bottom - top, right - left) + 1,
      row: rows / some,
      column: columns / some,
      ink: total,
    };
  }

  /**
   * The strokes without what lies under a round eraser; cut ones become two.
   * @param {Stroke[]} strokes @param {number} x @param {number} y @param {number} radius
   * @returns {Stroke[]}
   */
  function erase(strokes, x, y, radius) {
    return strokes.flatMap((stroke) => {
      const touched = stroke.some((point, at) => distance(point, stroke[Math.max(0, at - 1)], x, y) < radius);
      if (!touched) return [stroke];
      /** @type {Point[][]} */
      const pieces = [[]];
      for (const point of refined(stroke)) {
        const [dx, dy] = [point[0] - x, point[1] - y];
        if (dx * dx + dy * dy >= radius * radius) pieces[pieces.length - 1].push(point);
        else if (pieces[pieces.length - 1].length) pieces.push([]);
      }
      return pieces.filter((piece) => piece.length);
    });
  }

  /** @param {Point} a @param {Point} b @param {number} x @param {number} y */
  function distance([ax, ay], [bx, by], x, y) {
    const vx = bx - ax,
      vy = by - ay,
      length = vx * vx + vy * vy;
    const along = length > 0 ? Math.min(1, Math.max(0, ((x - ax) * vx + (y - ay) * vy) / length)) : 0;
    return Math.hypot(x - (ax + along * vx), y - (ay + along * vy));
  }

  /** The same polyline with a point every two units or closer, on the half units an address can hold.
   * @param {Point[]} stroke */
  function refined(stroke) {
    /** @type {Point[]} */
    const points = [stroke[0]];
    for (let at = 1; at < stroke.length; at++) {
      const [ax, ay] = stroke[at - 1],
        [bx, by] = stroke[at];
      const parts = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / 2));
      for (let part = 1; part <= parts; part++) {
        const share = part / parts;
        points.push([
          Math.round((ax + share * (bx - ax)) * 2) / 2,
          Math.round((ay + share * (by - ay)) * 2) / 2,
        ]);
      }
    }
    return points;
  }

  /** Strokes as text for an address, two digits of base 36 a coordinate in half units. @param {Point[][]} strokes */
  function toText(strokes) {
    /** @param {number} value */
    const code = (value) =>
      Math.round(Math.min(PAD, Math.max(0, value)) * 2)
        .toString(36)
        .padStart(2, "0");
    return strokes.map((stroke) => stroke.map(([x, y]) => code(x) + code(y)).join("")).join(".");
  }

  /** @param {string} text @returns {Stroke[]} */
  function fromText(text) {
    return text
      .split(".")
      .map((stroke) =>
        (stroke.match(/[0-9a-z]{4}/g) || []).map((point) => /** @type {Point} */ ([
          Math.min(PAD, parseInt(point.slice(0, 2), 36) / 2),
          Math.min(PAD, parseInt(point.slice(2), 36) / 2),
        ])),
      )
      .filter((stroke) => stroke.length);
  }

  return { PAD, place, drawFree, placePicture, asInk, measure, erase, toText, fromText };
})();
