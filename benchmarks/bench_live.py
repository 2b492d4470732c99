"""How long `pellucid live` takes to answer one picture: 224 x 224, by pellucid's resnet.

    python benchmarks/bench_live.py [--requests 60]

A server on loopback and a client in another process's place: raw sockets, one connection kept open, random
pictures, with the layers open that the page opens by itself, and then with five more. The weights are random:
time does not depend on them.
"""

import argparse
import socket
import statistics
import struct
import threading
import time

import torch

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.live import application, served
from pellucid.live.answers import HEAD, NOW
from pellucid.models import build
from pellucid.pad.section import Subject
from pellucid.serving.server import listening_socket, run, server_of

SIDE = 224


def big_classifier() -> Classifier:
    """pellucid's resnet with random weights and ten classes."""
    names = tuple(f"class {number}" for number in range(10))
    network = build("resnet", 3, len(names), (SIDE, SIDE), seed=0).eval()
    return Classifier(network, names, Preprocess(3, SIDE, SIDE), "resnet")


def question(opened: list[int], generator: torch.Generator) -> bytes:
    pixels = torch.randint(0, 256, (3 * SIDE * SIDE,), generator=generator).to(torch.uint8)
    places = struct.pack(f"<{len(opened)}H", *opened)
    return HEAD.pack(0, 0, NOW, 0, len(opened), 0) + places + pixels.numpy().tobytes()


def ask(connection: socket.socket, port: int, body: bytes) -> bytes:
    head = f"POST /answer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    content = b""
    while b"\r\n\r\n" not in content:
        content += connection.recv(1 << 16)
    headers, _, rest = content.partition(b"\r\n\r\n")
    assert headers.startswith(b"HTTP/1.1 200"), headers
    length = int(headers.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    parts = [rest]
    missing = length - len(rest)
    while missing:
        parts.append(connection.recv(min(missing, 1 << 20)))
        missing -= len(parts[-1])
    return b"".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=60)
    requests = parser.parse_args().requests
    one = served("bench", Subject(big_classifier()))
    assert one.answerer is not None
    listener = listening_socket(0)
    port = listener.getsockname()[1]
    app = application([one], port=port)
    threading.Thread(target=run, args=(server_of(app), listener), daemon=True).start()
    first = next(place for place, layer in enumerate(one.answerer.layers) if layer.grid is not None)
    usual = [first, one.answerer.evidence or 0]
    maps = [place for place, layer in enumerate(one.answerer.layers) if layer.grid is not None]
    generator = torch.Generator().manual_seed(1)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {len(one.answerer.layers)} layers")
    for name, opened in (("2 layers open", usual), ("7 layers open", sorted({*usual, *maps[:8]})[:7])):
        times, size = [], 0
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for turn in range(requests + 5):
                body = question(opened, generator)
                begun = time.perf_counter()
                size = len(ask(connection, port, body))
                if turn >= 5:
                    times.append((time.perf_counter() - begun) * 1000)
        times.sort()
        print(
            f"{name}: median {statistics.median(times):.1f} ms, mean {statistics.mean(times):.1f} "
            f"± {statistics.stdev(times):.1f} ms, 95th percentile {times[int(len(times) * 0.95)]:.1f} ms, "
            f"n = {len(times)}, answer {size / 1000:.0f} kB"
        )


if __name__ == "__main__":
    main()
