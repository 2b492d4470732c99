"""Figures for notebooks are pictures."""

import torch

from pellucid.evaluation.evaluation import Evaluation
from pellucid.plots import figures
from tests.toys import HISTORY


def test_figures_for_notebooks_are_pictures() -> None:
    evaluation = Evaluation(torch.eye(3), torch.tensor([0, 1, 1]), ("a", "b", "c"), ["1", "2", "3"])
    drawn = [
        figures.plot_history(HISTORY),
        figures.plot_confusion(evaluation),
        figures.plot_feature_maps(torch.rand(16, 4, 4), title="conv1"),
        figures.plot_explanation(
            torch.zeros(1, 8, 8, dtype=torch.uint8),
            {"gradient x activation": torch.zeros(2, 2)},
            {"conv1": torch.rand(20, 4, 4), "dense1": torch.rand(5)},
            "title",
        ),
    ]
    assert all(figures.png(figure).startswith(b"\x89PNG") for figure in drawn)
