"""Writes strokes.json: 50 drawings with the bytes they become, for Python and the page to agree on.

    python tests/golden/make_strokes.py

Ten digits as a hand draws them, the same moved, sized and slanted, and what goes wrong easily: a dot, a
line, two specks far apart, a scribble, nothing at all. Run it anew only when the rule itself is changed on
purpose.
"""

import base64
import json
import math
import random
from pathlib import Path
from typing import Any

from pellucid.pad.strokes import RULES, draw_free, place

Strokes = list[list[tuple[float, float]]]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, parts: int = 24) -> Strokes:
    """Part of an ellipse in degrees, clockwise from the right, as one stroke."""
    turns = [math.radians(start + (end - start) * part / parts) for part in range(parts + 1)]
    return [[(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]]


DIGITS: dict[str, Strokes] = {
    "0": arc(140, 140, 60, 95, -90, 272),
    "1": [[(110, 85), (150, 45), (150, 235)]],
    "2": [[*arc(138, 95, 52, 50, -170, 35)[0], (90, 230), (200, 228)]],
    "3": [[*arc(130, 92, 55, 46, -160, 88)[0], *arc(130, 186, 62, 50, -85, 150)[0]]],
    "4": [[(150, 45), (80, 165), (205, 165)], [(165, 110), (160, 240)]],
    "5": [[(195, 50), (105, 52), (98, 130), *arc(138, 178, 62, 54, -125, 135)[0]]],
    "6": [[(165, 45), (120, 100), *arc(140, 180, 48, 52, -160, 195)[0]]],
    "7": [[(80, 55), (200, 55), (150, 140), (125, 240)]],
    "8": [[*arc(140, 90, 45, 42, 90, 450)[0], *arc(140, 185, 55, 53, -90, 270)[0]]],
    "9": [[*arc(138, 100, 50, 52, 10, 360)[0], (188, 120), (170, 240)]],
}

CROSSED: Strokes = [
    *DIGITS["7"],
    [(105, 150), (190, 140)],
]  # a seven as the writers of the 8x8 digits wrote it


def moved(strokes: Strokes, chance: random.Random) -> Strokes:
    """The drawing turned a little, slanted, sized from half to its whole and put somewhere on the pad."""
    size, slant, turn = chance.uniform(0.5, 1.05), chance.uniform(-0.2, 0.2), chance.uniform(-0.15, 0.15)
    right, down = chance.uniform(-30, 30), chance.uniform(-25, 25)
    cosine, sine = math.cos(turn) * size, math.sin(turn) * size

    def put(x: float, y: float) -> tuple[float, float]:
        x, y = x - 140 - slant * (y - 140), y - 140
        return 140 + cosine * x - sine * y + right, 140 + sine * x + cosine * y + down

    return [[put(x, y) for x, y in stroke] for stroke in strokes]


def rounded(strokes: Strokes) -> Strokes:
    """On the half units that a page's address holds."""
    return [[(round(x * 2) / 2, round(y * 2) / 2) for x, y in stroke] for stroke in strokes]


def drawings() -> list[dict[str, Any]]:
    """The 50 drawings by name, each with how it is to be placed."""
    chance = random.Random(7)
    found = [("mnist", name, rounded(strokes)) for name, strokes in DIGITS.items()]
    found += [("mnist", f"{name} moved", moved(strokes, chance)) for name, strokes in DIGITS.items()]
    found += [("digits", name, rounded(strokes)) for name, strokes in {**DIGITS, "7": CROSSED}.items()]
    found += [("free", f"{name} moved", moved(strokes, chance)) for name, strokes in DIGITS.items()]
    scribble = [[(chance.uniform(0, 280), chance.uniform(0, 280)) for _ in range(80)]]
    odd: dict[str, Strokes] = {
        "nothing": [],
        "a dot": [[(33.5, 250.0)]],
        "a level line": [[(20.0, 100.0), (260.0, 100.0)]],
        "an upright line": [[(99.5, 30.0), (99.5, 250.0)]],
        "two specks": [[(10.0, 10.0)], [(270.0, 269.5)]],
        "a short stroke": [[(100.0, 100.0), (103.0, 101.5)]],
        "the same point again": [[(50.0, 60.0), (50.0, 60.0), (90.0, 200.0), (90.0, 200.0)]],
        "a scribble": scribble,
        "edge to edge": [[(0.0, 0.0), (280.0, 280.0), (0.0, 280.0)]],
        "an empty stroke": [[], [(140.0, 30.0), (60.0, 200.0)]],
    }
    found += [("mnist", name, strokes) for name, strokes in odd.items()]
    return [{"rule": rule, "name": name, "strokes": strokes} for rule, name, strokes in found]


def drawn(drawing: dict[str, Any]) -> bytes:
    """The bytes that strokes.py makes of a drawing."""
    if drawing["rule"] == "free":
        return draw_free(drawing["strokes"], (32, 24), 2.25).tobytes()
    return place(drawing["strokes"], RULES[drawing["rule"]]).tobytes()


def main() -> None:
    """Write the file beside this script."""
    made = [{**drawing, "bytes": base64.b64encode(drawn(drawing)).decode()} for drawing in drawings()]
    path = Path(__file__).with_name("strokes.json")
    path.write_text("[\n" + ",\n".join(json.dumps(one) for one in made) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
