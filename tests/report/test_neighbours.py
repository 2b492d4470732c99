"""Neighbours are training pictures, the most similar first."""

from pellucid.report import neighbours
from pellucid.report.context import ReportContext


def test_neighbours_are_training_pictures_the_most_similar_first(context: ReportContext) -> None:
    section_ = neighbours.gather(context)
    train = context.splits.train
    for row in section_.rows:
        similarities = [float(tile.similarity) for tile in row.neighbours]
        assert similarities == sorted(similarities, reverse=True)
        for tile in row.neighbours:
            assert tile.label == train.classes[int(train.labels[list(train.sources).index(tile.source)])]
        assert 0 <= row.novelty <= 100
