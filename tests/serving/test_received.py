"""A picture file becomes the pixels that each network would be given; who does so is kept small."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.decode.images import WHITE, DecodeSettings, decode_image
from pellucid.decode.process import command
from pellucid.pad.strokes import RULES, as_ink, place_picture
from pellucid.serving.received import Form, received, request_line
from tests.serving.decoders import outcome, pictures
from tests.stored import stored

DIGIT = Form(Preprocess(1, 28, 28, "stretch").decode_settings, RULES["mnist"])
PREPROCESSES = [
    Preprocess(3, 16, 12, "stretch", 200),
    Preprocess(1, 12, 16, "pad", 90, 4095),
    Preprocess(3, 20, 20, "crop"),
    Preprocess(1, 37, 29),
]


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=lambda preprocess: preprocess.fit)
def test_every_kind_of_file_is_received_as_the_networks_preprocess_reads_it(preprocess: Preprocess) -> None:
    for name, content in pictures():
        form = Form(preprocess.decode_settings)
        expected = outcome(lambda content=content: preprocess.read(content).numpy().tobytes())
        assert outcome(lambda content=content, form=form: received(content, [form])) == expected, name
        assert isinstance(expected, str) or len(expected) == form.size
    assert isinstance(expected, str)


def test_writing_of_another_size_is_placed_as_its_data_set_places_it() -> None:
    for name, content in pictures():
        if name not in ("cut off", "text"):
            gray = np.asarray(decode_image(content, 0).convert("L"))
            assert received(content, [DIGIT]) == place_picture(as_ink(gray), RULES["mnist"]).tobytes(), name
    small = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(28, 28)
    assert received(stored(small), [DIGIT]) == small.tobytes()


def test_several_networks_are_answered_in_their_order() -> None:
    content = stored(np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(20, 30))
    forms = [DIGIT, Form(PREPROCESSES[0].decode_settings), DIGIT]
    assert received(content, forms) == b"".join(received(content, [form]) for form in forms)


def asked(memory: int, *files: bytes, forms: tuple[Form, ...] = (DIGIT,)) -> tuple[list[bytes], bytes]:
    """What a process with so much memory says, and to its errors; each file is asked for in turn."""
    words = [sys.executable, "-c", command("pellucid.serving.received", memory), str(os.getpid()), *sys.path]
    requests = b"".join(request_line(forms, len(content)) + content for content in files)
    done = subprocess.run(words, input=requests, capture_output=True, timeout=120, check=False)
    return done.stdout.split(b"\n", 1), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="workers are started on POSIX systems")
def test_the_protocol_is_that_of_its_docstring() -> None:
    (start, rest), errors = asked(1 << 30, stored(np.full((90, 70), 235, np.uint8)), b"text")
    first, rest = rest.split(b"\n", 1)
    assert (start, first, errors) == (b"", b'""', b"")
    assert rest[: DIGIT.size] == bytes(DIGIT.size)  # paper without ink
    assert json.loads(rest[DIGIT.size :]) == outcome(lambda: received(b"text", [DIGIT]))


@pytest.mark.skipif(sys.platform != "linux", reason="where memory can be limited")
def test_a_picture_that_takes_more_memory_than_there_is_is_refused_in_words_and_the_next_one_read() -> None:
    large, small = Image.new("RGB", (7_000, 6_000)), Image.new("L", (90, 70), 235)
    (_, rest), _ = asked(100 << 20, stored(large, compress_level=1), stored(small))
    refused, second, pixels = rest.split(b"\n", 2)
    assert "takes more memory to decode than there is for one picture" in json.loads(refused)
    assert (second, pixels) == (b'""', bytes(DIGIT.size))


def test_neither_torch_nor_numpy_nor_the_server_is_loaded_to_decode() -> None:
    heavy = "{'torch', 'numpy', 'asyncio', 'uvicorn'}"
    code = f"import sys, pellucid.serving.received; print({heavy} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"


def test_a_form_knows_its_size() -> None:
    assert Form(DecodeSettings(3, 5, 7, "stretch", 0, WHITE)).size == 105
