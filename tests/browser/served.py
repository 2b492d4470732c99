"""What a browser is shown: a network that has learned, and a server for it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.live import Served, application
from pellucid.models import build
from pellucid.pad.section import Subject
from pellucid.recipe import Recipe
from pellucid.serving.decoding import DecodingPool
from pellucid.serving.server import listening_socket, run, server_of
from pellucid.training.loop import Step, train


def learned(data: str, splits, recipe: Recipe) -> Subject:
    """A tutorial network trained on `splits`, with its past."""
    size = splits.train.size
    made = build("tutorial", 1, len(splits.train.classes), size, seed=1)
    past = [("untrained", 0, {name: value.clone() for name, value in made.state_dict().items()})]
    count = 0
    for event in train(made, splits.train, splits.validation, recipe):
        if not isinstance(event, Step):
            continue
        count += 1
        if count & (count - 1) == 0:
            state = {name: value.clone() for name, value in made.state_dict().items()}
            past.append((f"epoch {count / event.steps:.2g}", count, state))
    classifier = Classifier(made.eval(), splits.train.classes, Preprocess(1, *size), "tutorial")
    return Subject(classifier, data, splits.train, splits.test, past)


@contextmanager
def serving(runs: Sequence[Served], language: str = "en") -> Iterator[str]:
    """The address of a real server in a thread."""
    with listening_socket(0) as listener, DecodingPool() as decoders:
        port = listener.getsockname()[1]
        made = server_of(application(runs, port=port, decoders=decoders, language=language))
        thread = threading.Thread(target=run, args=(made, listener))
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            made.should_exit = True
            thread.join(15)
