"""What is called beyond chance is so by scipy's exact test and by Holm's rule."""

import pytest
import torch
from scipy.stats import binomtest

from pellucid.evaluation.chance import holm, paired_p_values


def test_paired_tests_are_scipys_exact_ones() -> None:
    lost, gained = torch.tensor([0, 1, 7, 30, 12]), torch.tensor([0, 5, 7, 10, 0])
    found = paired_p_values(lost, gained).tolist()
    for b, c, value in zip(lost.tolist(), gained.tolist(), found, strict=True):
        assert value == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)
    assert paired_p_values(lost.reshape(5, 1), gained.reshape(5, 1)).shape == (5, 1)


def test_holms_values_are_those_of_the_written_rule() -> None:
    found = holm([0.01, 0.04, 0.03, 0.005])
    torch.testing.assert_close(found, torch.tensor([0.03, 0.06, 0.06, 0.02], dtype=torch.float64))
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_of_many_tests_of_nothing_one_is_found_in_a_twentieth_at_most() -> None:
    generator = torch.Generator().manual_seed(1)
    p_values = torch.rand(400, 128, generator=generator, dtype=torch.float64)
    false = sum(bool((holm(row) < 0.05).any()) for row in p_values)
    assert 4 <= false <= 34  # 20 expected
