"""Weights in few bytes, for a page, and what they are when they come out again."""

import base64
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.pad.data import WeightsData


def pack_weights(weights: Sequence[Tensor], precision: str) -> tuple[WeightsData, list[Tensor]]:
    """Weights as the page reads them, and as they come out again.

    In 8 bits of a row's largest weight ("i8"), in 16 bits each ("f16") where all of them are finite so, else
    in 32.
    """
    flat = torch.cat([weight.flatten() for weight in weights])
    if precision == "i8":
        content, (rounded,) = _levels([weights], 8)
        return WeightsData("i8", base64_of(content)), rounded
    if precision == "f16" and bool(torch.isfinite(flat.half()).all()):
        halves = [weight.half().float() for weight in weights]
        return WeightsData("f16", base64_of(flat.half().numpy().tobytes())), halves
    return WeightsData("f32", base64_of(flat.numpy().tobytes())), list(weights)


def pack_snapshots(snapshots: Sequence[Sequence[Tensor]], bits: int = 8) -> tuple[bytes, list[list[Tensor]]]:
    """Weights over time in few bytes, and the weights as they come out again.

    A matrix is kept as whole steps, `bits` (at most 8) a weight, of one size a row (its first dimension) over
    all snapshots, and each snapshot as the change since the one before; vectors as 16-bit floats. It changes
    little at a time, so the changes compress well, and no error adds up: the sum of changes is exact.
    assets/pad/snapshots.js unpacks it.
    """
    content, unpacked = _levels(snapshots, bits)
    return zlib.compress(content), unpacked


def _levels(snapshots: Sequence[Sequence[Tensor]], bits: int) -> tuple[bytes, list[list[Tensor]]]:
    """The same, not compressed: the sizes of a step, then each snapshot's steps and vectors."""
    most = 2 ** (bits - 1) - 1
    matrices = [place for place, weight in enumerate(snapshots[0]) if weight.dim() > 1]
    steps = {
        place: torch.stack([snapshot[place].flatten(1).abs().amax(dim=1) for snapshot in snapshots])
        .amax(dim=0)
        .div(most).clamp_min(1e-12)
        for place in matrices
    }  # fmt: skip
    levels = {place: torch.zeros(snapshots[0][place].numel(), dtype=torch.int16) for place in matrices}
    parts = [torch.cat([steps[place] for place in matrices]).numpy().tobytes()] if matrices else []
    unpacked = []
    for snapshot in snapshots:
        out = []
        vectors = []
        for place, weight in enumerate(snapshot):
            if place not in steps:
                out.append(weight.half().float())
                vectors.append(weight.half().numpy().tobytes())
                continue
            rows = (weight.flatten(1) / steps[place][:, None]).round().clamp(-most, most)
            now = rows.flatten().to(torch.int16)
            parts.append((now - levels[place]).to(torch.int8).numpy().tobytes())  # wraps, as the page does
            levels[place] = now
            out.append((rows * steps[place][:, None]).reshape(weight.shape))
        parts += vectors
        unpacked.append(out)
    return b"".join(parts), unpacked


def base64_of(content: bytes) -> str:
    """Bytes as a page's JSON holds them."""
    return base64.b64encode(content).decode()
