"""A table is read as the same columns however it is written down, and a bad row is named."""

import io
import json

import pytest

from pellucid.data.sources import columns
from pellucid.data.sources.columns import delimiter_of, read_table
from pellucid.data.sources.listing import joined
from pellucid.errors import UsageError

EXPECTED = {"path": ["1.png", "2.png"], "label": ["cat", "dog"]}
ROWS = [{"path": "1.png", "label": "cat"}, {"path": "2.png", "label": "dog"}]
WRITTEN = {
    "a.csv": b"path,label\n1.png,cat\n2.png,dog\n",
    "b.csv": b"path;label\r\n1.png;cat\r\n\r\n2.png;dog",
    "c.tsv": b"path\tlabel\n1.png\tcat\n2.png\tdog\n",
    "d.csv": b"path|label\n 1.png | cat\n2.png|dog\n",
    "e.txt": b"path label\n1.png cat\n2.png dog\n",
    "f.json": json.dumps(ROWS).encode(),
    "g.jsonl": "\n\n".join(map(json.dumps, ROWS)).encode(),
    "h.ndjson": "\n".join(map(json.dumps, ROWS)).encode(),
    "i.json": json.dumps({"1.png": "cat", "2.png": "dog"}).encode(),
    "j.csv": b"\xef\xbb\xbfpath,label\n1.png,cat\n2.png,dog\n",
    "k.csv": "path,label\n1.png,cat\n2.png,dog\n".encode("utf-16"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_way_to_write_a_table_gives_the_same_columns(name: str) -> None:
    table = read_table(name, WRITTEN[name])
    assert table.columns == EXPECTED
    assert table.first_row == (1 if name[2:].startswith(("json", "ndjson")) else 2)


def test_quoted_cells_are_those_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    content = b'path,label,note\n"a, b.png",cat,"says ""no"""\n2.png,dog,"two\nlines"\n'
    frame = pandas.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    assert read_table("t.csv", content).columns == {name: list(frame[name]) for name in frame.columns}


def test_names_with_spaces_end_at_the_last_one_in_a_text() -> None:
    table = read_table("t.txt", b"path label\nmy cat.png 0\nmy dog.png 1\n")
    assert table.columns == {"path": ["my cat.png", "my dog.png"], "label": ["0", "1"]}


def test_korean_of_an_older_spreadsheet_is_read_and_told() -> None:
    text = "path,label\n1.png,고양이\n"
    table = read_table("t.csv", text.encode("cp949"))
    assert table.columns["label"] == ["고양이"]
    assert [str(note) for note in table.notes] == ["'t.csv' is read as cp949"]
    assert read_table("t.csv", text.encode()).notes == ()


def test_another_encoding_is_refused_not_guessed() -> None:
    with pytest.raises(UsageError, match=r"^'t\.csv' is not in UTF-8\. Save it as UTF-8\.$"):
        read_table("t.csv", "path,label\n1.png,Käse\n".encode("latin-1"))


def test_a_first_row_that_names_a_picture_is_no_header() -> None:
    table = read_table("t.csv", b"cat,1.png\ndog,2.png\n", lambda value: value.endswith(".png"))
    assert table.columns == {"label": ["cat", "dog"], "path": ["1.png", "2.png"]}
    assert table.first_row == 1
    assert [str(note) for note in table.notes] == ["'t.csv' has no header"]
    wide = read_table("t.csv", b"1.png,cat,x\n", lambda value: value.endswith(".png"))
    assert list(wide.columns) == ["path", "column 2", "column 3"]


def test_json_values_become_text() -> None:
    rows = [{"path": "1.png", "n": 3.0, "tags": ["a", "b"], "x": None}, {"path": "2.png", "n": 2.5}]
    table = read_table("t.json", json.dumps(rows).encode())
    assert table.columns == {
        "path": ["1.png", "2.png"], "n": ["3", "2.5"], "tags": [joined(["a", "b"]), ""], "x": ["", ""],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", r"'t\.csv' is empty\. Expected a header such as path,label\."),
        ("t.csv", b"\n\n", "is empty"),
        ("t.csv", b"a,b\n1,2\n3\n", r"'t\.csv', row 3: expected 2 fields \(a, b\); got 1\."),
        ("t.csv", b"a,b\n1,2,3\n", "row 2: expected 2 fields .*; got 3"),
        ("t.csv", b"a,a\n1,2\n", "has two columns of the same name: a, a"),
        ("t.csv", b'a,b\n"1,2\n', "cannot be read as a table"),
        ("t.json", b"{", "cannot be read as JSON"),
        ("t.json", b"[" * 100_000, "cannot be read as JSON"),
        ("t.json", b"[1, 2]", "is not a table. Expected a list of objects"),
        ("t.json", b"[]", "is not a table"),
        ("t.jsonl", b'{"a": 1}\n3\n', "is not a table"),
    ],
)
def test_what_is_no_table_is_refused_with_its_row(name: str, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_table(name, content)


def test_a_table_too_large_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_TABLE_BYTES", 10)
    with pytest.raises(UsageError, match="has 11 bytes; the limit of a table is 10"):
        read_table("t.csv", b"path,label\n")


def test_the_delimiter_is_the_commonest_mark() -> None:
    assert [delimiter_of(line) for line in ("a,b", "a;b,c;d", "a\tb", "a|b", "a")] == [
        ",",
        ";",
        "\t",
        "|",
        ",",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"0.png": "a", "0.png": "b", "1.png": "a"}', "the key '0.png' comes twice"),
        (r'[{"path": "0.png", "label": "x\ud800"}]', ".* has half a character in it"),
        ('[{"path": "0.png", "label": NaN}]', "NaN is not a number of JSON"),
    ],
)
def test_json_that_means_different_things_to_different_readers_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be read as JSON: {message}"):
        read_table("t.json", text.encode(), lambda name: name.endswith(".png"))
