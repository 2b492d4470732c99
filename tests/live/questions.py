"""Questions as the page sends them, and answers read as the page reads them."""

import json
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.live.answers import HEAD, NOW
from tests.networks import SHAPES


def picture(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, SHAPES[name], generator=generator).to(torch.uint8)


def question(
    image: Tensor,
    opened: Any = (),
    silenced: Any = (),
    *,
    contrast: int = 0,
    run: int = 0,
    snapshot: int = NOW,
    chosen: tuple[int, ...] = (),
) -> bytes:
    numbers = [*opened, *(number for pair in silenced for number in pair), *chosen]
    head = HEAD.pack(run, contrast, snapshot, bool(chosen), len(opened), len(silenced))
    return head + struct.pack(f"<{len(numbers)}H", *numbers) + image.numpy().tobytes()


def understood(content: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The head and the parts, read as the page reads them."""
    (length,) = struct.unpack_from("<I", content)
    head = json.loads(content[4 : 4 + length])
    assert length % 4 == 0
    shapes = [(head["classes"],), *([head["evidence"]] if head["evidence"] else [])]
    shapes += [shape for _, *shape in head["layers"]]
    working = head["working"] or {"kernel": None, "patch": None}
    shapes += [working[name] for name in ("kernel", "patch") if working[name] is not None]
    parts, at = [], 4 + length
    for shape in shapes:
        count = int(np.prod(shape))
        parts.append(np.frombuffer(content, np.float32, count, at).reshape(shape))
        at += 4 * count
    assert at == len(content)
    return head, parts
