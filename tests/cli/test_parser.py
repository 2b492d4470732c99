"""A mistake at the command line is answered with what was expected and what to do."""

from pathlib import Path

import pytest

from tests.toys import Call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "digits", "epochs=5"], "did you mean --epochs 5?"),
        (["train", "digits", "--lr", "3"], "Unknown option '--lr'. Did you mean --learning-rate 3?"),
        (["train", "digits", "--batch_size=3"], "Did you mean --batch-size 3?"),
        (["train", "digits", "--epochs"], "requires an argument: --epochs NUMBER."),
        (["train", "digits", "--epochs", "x"], "Expected a whole number for --epochs; got 'x'."),
        (["train", "digits", "--epochs", "2000000"], "Expected --epochs from 1 to 1,000,000; got 2000000."),
        (["train", "digits", "--snapshots", "17"], "Expected a whole number from 0 to 16 for --snapshots"),
        (["train", "./photoz"], "'./photoz' does not exist. Expected a folder of pictures"),
        (["train", "-"], "'-' is not read: pellucid takes files"),
        (["train", "https://a.org/b.zip"], "'https://a.org/b.zip' is an address. Download it first"),
        (["train", "digits", "mnist"], "Too many words: 'mnist'. Expected: pellucid train [DATA] [OPTIONS]."),
        (["predict"], "RUN is missing. Expected: pellucid predict RUN FILE... [OPTIONS]. For example: "),
        (["predict", "runs/latest", "-"], "'-' is not read"),
        (["live", "x", "--port", "99999"], "Expected --port from 0 to 65,535"),
        (["trian"], "Unknown command 'trian'. Did you mean 'train'?"),
        (["eval"], "Unknown command 'eval'. Did you mean: pellucid evaluate?"),
        (["./photos"], "To train on pictures: pellucid train ./photos"),
        (["help", "trian"], "Unknown command 'trian'. Did you mean 'train'?"),
        (["datasets", "--data-dir", "nowhere"], "--data-dir 'nowhere' does not exist."),
        (["--json"], "Options follow a command: pellucid COMMAND [OPTIONS]."),
        (["train", "digits", "learning_rate=0.1"], "did you mean --learning-rate 0.1?"),
        (["train", "digits", "batch-size=8"], "did you mean --batch-size 8?"),
        (["train", "minst"], "Unknown data set 'minst'. Did you mean 'mnist'?"),
        (["check", "digit"], "Unknown data set 'digit'. Did you mean 'digits'?"),
        (["train", "digits", "--model", "tutorail"], "Unknown model 'tutorail'. Did you mean 'tutorial'?"),
        (["train", "digits", "--recipe", "coarse"], "Unknown recipe 'coarse'. Did you mean 'course'?"),
        (["train", "digits", "--epochs", "0"], "Expected --epochs from 1 to 1,000,000; got 0."),
        (["train", "digits", "--learning-rate", "nan"], "Expected --learning-rate above 0"),
        (["train", "digits", "--validation", "1.5"], "Expected --validation between 0 and 1"),
        (["train", "digits", "--optimizer", "sgd"], "Unknown optimizer 'sgd'. Known: adam, adamw, muon."),
        (["train", "digits", "--recipe", "no.json"], "'no.json' is not a file."),
        (["train", "digits", "--resume", "x"], "--resume goes on with a run as it was begun"),
        (["train", "--resume", "x", "--epochs", "3"], "--resume goes on with a run as it was begun"),
        (["train", "--resume", "x", "--snapshots", "3"], "--resume goes on with a run as it was begun"),
        (["train", "digits", "--lang", "fr"], "Unknown language 'fr'. Known: en, ko."),
        (["report", "nowhere", "--lang", "fr"], "Unknown language 'fr'. Known: en, ko."),
        (["export", "nowhere", "--lang", "fr"], "Unknown language 'fr'. Known: en, ko."),
        (["train", "--resume", "nowhere"], "'nowhere' has nothing to resume"),
        (
            ["evaluate", "nowhere"],
            "'nowhere' is not a folder. Expected the folder of a run: train one first",
        ),
        (["evaluate", "."], "'.' holds no model.json. Expected a run's folder"),
        (["report", "nowhere"], "'nowhere' is not a folder."),
        (["predict", "nowhere", "x.png"], "'nowhere' holds no model.json."),
        (["explain", "nowhere", "x.png"], "'nowhere' holds no model.json."),
    ],
)
def test_a_mistake_is_answered_with_what_to_do_and_exit_2(call: Call, words: list[str], message: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("pellucid: ")
    assert "Traceback" not in err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--no-such"], ["trian"], ["train", "digits", "--epochs", "x"], ["predict"]]
)
def test_words_the_parser_does_not_know_exit_2(call: Call, words: list[str]) -> None:
    code, _, err = call(*words)
    assert code == 2
    assert "Traceback" not in err
