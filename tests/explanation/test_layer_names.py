"""Layers have names that a person reads, in both languages, and many of them are grouped by stage."""

import pytest

from pellucid.explanation.activations import layers_of
from pellucid.explanation.layer_names import FOLDED_FROM, grouped, layer_title
from pellucid.language import use_language
from pellucid.models import build, lite0


@pytest.mark.parametrize(
    ("name", "english", "korean"),
    [
        ("backbone.stem", "first convolution", "첫 합성곱"),
        ("backbone.stage2.0.project", "stage 2, block 1: narrowed", "2단계 1번 블록: 맵 줄이기"),
        ("stage6.3.expand#2", "stage 6, block 4: widened (2)", "6단계 4번 블록: 맵 늘리기 (2)"),
        ("stage4.1.sum", "stage 4, block 2: sum with what came in", "4단계 2번 블록: 입력과 더하기"),
        ("dense1", "dense1", "dense1"),
        ("stage1.0.other", "stage 1, block 1: other", "1단계 1번 블록: other"),
    ],
)  # fmt: skip
def test_a_layers_name_says_where_it_stands_and_what_it_does(name: str, english: str, korean: str) -> None:
    assert layer_title(name) == english
    with use_language("ko"):
        assert layer_title(name) == korean


def test_every_layer_of_lite0_has_such_a_name_and_no_two_the_same() -> None:
    names = list(layers_of(lite0.Lite0(3, 4, (32, 32))))
    titles = {layer_title(name) for name in names}
    assert len(titles) == len(names)
    assert not any("backbone" in title or "." in title for title in titles)


def test_many_layers_are_grouped_by_stage_few_are_not() -> None:
    many = list(layers_of(lite0.Lite0(3, 4, (32, 32))))
    assert len(many) >= FOLDED_FROM
    groups = grouped(many)
    assert [index for group in groups for index in group.indices] == list(range(len(many)))
    assert [group.stage for group in groups if group.stage] == list("1234567")
    assert all(many[at].split(".")[1] == f"stage{g.stage}" for g in groups if g.stage for at in g.indices)
    few = list(layers_of(build("resnet", 3, 4, (32, 32), seed=0)))
    assert [group.indices for group in grouped(few)] == [[index] for index in range(len(few))]
