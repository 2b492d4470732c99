"""How long `pellucid live` takes to answer one picture: 224 x 224, by pellucid's resnet.

    python benchmarks/bench_live.py [--requests 60]
    python benchmarks/bench_live.py --files [--requests 60] [--large 50]

A server on loopback and a client in another process's place: raw sockets, one connection kept open, random
pictures, with the layers open that the page opens by itself, and then with five more. The weights are random:
time does not depend on them.

With --files, picture files are sent as when one is dropped on the page, to a server in a process of its own:
a PNG of 28 x 28 pixels and a JPEG of 12 million, and then JPEGs of 24.9 million. Printed are the time of each
answer and the memory of the server before and after, and of the process that decodes (Linux only).
"""

import argparse
import io
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.live import application, serve, served
from pellucid.live.answers import HEAD, NOW
from pellucid.models import build
from pellucid.pad.section import Subject
from pellucid.serving.decoding import DecodingPool
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


def ask(connection: socket.socket, port: int, body: bytes, address: str = "answer") -> bytes:
    head = f"POST /{address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"
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


def told(times: list[float]) -> str:
    """Milliseconds in words."""
    times = sorted(times)
    return (
        f"median {statistics.median(times):.1f} ms, mean {statistics.mean(times):.1f} "
        f"± {statistics.stdev(times):.1f} ms, 95th percentile {times[int(len(times) * 0.95)]:.1f} ms, "
        f"n = {len(times)}"
    )


def photograph(width: int, height: int, kind: str) -> bytes:
    """Smooth coloured noise, as a file."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.save(file, kind, quality=85)
    return file.getvalue()


def memory(process: int) -> dict[str, float]:
    """MB by the names of /proc: VmRSS resident now, VmHWM at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines if line.startswith("Vm")}


def children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def serve_pictures() -> None:
    """The server that is sent picture files: 224 x 224 by the resnet; writing as MNIST's, with "mnist"."""
    classifier = big_classifier()
    if "mnist" in sys.argv:
        network = build("tutorial", 1, 10, (28, 28), seed=0).eval()
        classifier = Classifier(network, tuple("0123456789"), Preprocess(1, 28, 28), "tutorial")
    subject = Subject(classifier, "mnist" if "mnist" in sys.argv else "photos")
    run_served = served("bench", subject, torch_only=True)
    serve([run_served], port=0, open_browser=False, announce=lambda address: print(address, flush=True))


def send_files(requests: int, large: int, writing: bool) -> None:
    command = [sys.executable, __file__, "--serve", *(["mnist"] if writing else [])]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline().rsplit(":", 1)[1].strip("/\n"))
    files = {
        "PNG of 28 x 28": (photograph(28, 28, "PNG"), requests),
        "JPEG of 12 Mpx": (photograph(4000, 3000, "JPEG"), requests),
        "JPEG of 24.9 Mpx": (photograph(4990, 4990, "JPEG"), large),
    }
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        ask(connection, port, files["PNG of 28 x 28"][0], "picture")
        print(f"the first picture: {(time.perf_counter() - begun) * 1000:.0f} ms")
        for name, (content, count) in files.items():
            Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # VmHWM begins anew
            before, times = memory(server.pid), []
            for _ in range(count):
                begun = time.perf_counter()
                ask(connection, port, content, "picture")
                times.append((time.perf_counter() - begun) * 1000)
            after = memory(server.pid)
            print(f"{name} ({len(content) / 1e6:.1f} MB): {told(times)}")
            print(
                f"  server: {before['VmRSS']:.0f} MB before, {after['VmRSS']:.0f} MB after, at most "
                f"{after['VmHWM']:.0f} MB ({after['VmHWM'] - before['VmRSS']:+.0f})"
            )
            for child in children(server.pid):
                used = memory(child)
                print(f"  decoding process: {used['VmRSS']:.0f} MB after, at most {used['VmHWM']:.0f} MB")
    server.terminate()
    server.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--large", type=int, default=50)
    parser.add_argument("--writing", action="store_true", help="with --files: by a network that reads MNIST")
    arguments = parser.parse_args()
    if arguments.files:
        return send_files(arguments.requests, arguments.large, arguments.writing)
    requests = arguments.requests
    one = served("bench", Subject(big_classifier()))
    assert one.answerer is not None
    listener = listening_socket(0)
    port = listener.getsockname()[1]
    app = application([one], port=port, decoders=DecodingPool())
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
        print(f"{name}: {told(times)}, answer {size / 1000:.0f} kB")
    return None


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve_pictures()
    else:
        main()
