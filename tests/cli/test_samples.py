"""Sample pictures are written once and overwrite nothing."""

from pathlib import Path

from tests.toys import Call


def test_sample_pictures_are_written_once_and_overwrite_nothing(call: Call) -> None:
    assert call("samples") == (0, "Written: photos, three.png, four.png, seven.png\n", "")
    assert len(list(Path("photos").glob("*/*.png"))) == 600
    before = Path("seven.png").read_bytes()
    code, _, err = call("samples")
    assert (code, "'photos' is there already and is not overwritten" in err) == (2, True)
    assert Path("seven.png").read_bytes() == before
