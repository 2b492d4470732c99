"""Whether confidence means what it says: by simulation, and on MNIST over several seeds.

python benchmarks/calibration.py simulate
python benchmarks/calibration.py groups [TRIALS]           pictures that are right or wrong together
python benchmarks/calibration.py mnist SEED [SEED ...]     trains by the default recipe, one thread
"""

import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from scipy.stats import norm  # type: ignore[import-untyped]
from torch import Tensor

import pellucid
from pellucid.errors import UsageError
from pellucid.evaluation.calibration import at_temperature_one, calibration_of, fit_temperature
from pellucid.evaluation.conformal import prediction_sets, set_scores
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.selective import threshold_for_error
from pellucid.recipe import Recipe

CLASSES = tuple("abcdefghij")


def drawn(count: int, generator: torch.Generator, spread: float = 4.0) -> tuple[Tensor, Tensor]:
    """Scores (N, K), and labels (N,) drawn from their softmax: perfectly calibrated."""
    scores = torch.randn(count, len(CLASSES), generator=generator) * spread
    return scores, torch.multinomial(scores.softmax(dim=1), 1, generator=generator)[:, 0]


def judged(scores: Tensor, labels: Tensor) -> Evaluation:
    return Evaluation(scores.softmax(dim=1), labels, CLASSES, [""] * len(labels))


def false_alarms(generator: torch.Generator) -> None:
    """How often a calibrated classifier is said not to be."""
    for count, spread, trials in ((100, 3.0, 2000), (360, 4.0, 1000), (2000, 8.0, 300)):
        found = [
            calibration_of(each.confidence, each.right, seed=trial)
            for trial in range(trials)
            for each in [judged(*drawn(count, generator, spread))]
        ]
        wide, gaps = mean(one.error_shown for one in found), mean(one.gap_shown for one in found)
        accuracy = mean(one.accuracy for one in found)
        apart = mean(abs(one.gap) >= 0.01 for one in found)
        print(
            f"{count} pictures, {accuracy:.0%} right, {trials} trials: ECE beyond its limit {wide:.1%}, gap "
            f"beyond its limits {gaps:.1%}; a gap of a point or more {apart:.0%}",
            flush=True,
        )


def false_alarms_of_groups(trials: int) -> None:
    """How often a calibrated classifier is said not to be where about ten pictures belong together, and are
    right or wrong together (a Gaussian copula): by groups, and as if each stood alone."""
    for groups, together, sure in (
        (150, 0.0, 1.5), (150, 0.3, 1.5), (150, 0.3, 3.5), (300, 0.3, 3.5), (50, 0.3, 1.5), (20, 0.3, 1.5),
        (150, 0.95, 1.5), (300, 0.95, 3.5), (50, 0.95, 3.5),
    ):  # fmt: skip
        counts, accuracy = np.zeros(4, dtype=int), 0.0
        for trial in range(trials):
            draws = np.random.default_rng(trial)
            owner = np.repeat(np.arange(groups), draws.geometric(0.1, groups))
            scores = draws.normal(sure, 1.2, len(owner)) + draws.normal(0, 0.6, groups)[owner]
            shared, own = draws.normal(size=groups)[owner], draws.normal(size=len(owner))
            confidence = 1 / (1 + np.exp(-scores))
            drawn = norm.cdf(np.sqrt(together) * shared + np.sqrt(1 - together) * own)
            given = torch.from_numpy(confidence), torch.from_numpy(drawn < confidence)
            by_groups = calibration_of(*given, torch.from_numpy(owner), seed=trial)
            alone = calibration_of(*given, seed=trial)
            counts += [by_groups.error_shown, by_groups.gap_shown, alone.error_shown, alone.gap_shown]
            accuracy += float(given[1].double().mean()) / trials
        by_error, by_gap, error, gap = counts / trials
        print(
            f"{groups} groups, together {together}, {accuracy:.0%} right, {trials} trials: ECE "
            f"{by_error:.1%}, gap {by_gap:.1%}; as if alone {error:.1%}, {gap:.1%}",
            flush=True,
        )


def conformal(generator: torch.Generator) -> None:
    """How often sets hold the label, of a network that is too sure."""
    for level in (0.8, 0.9, 0.95):
        shares, sizes = [], []
        for _ in range(1000):
            (scores, labels), (new, truth) = drawn(500, generator, 1.5), drawn(1000, generator, 1.5)
            found = prediction_sets(HeldOut.of(judged(scores * 2, labels)), level)
            measured = set_scores(found, (new * 2).softmax(dim=1), truth)
            shares.append(measured.covered / measured.count)
            sizes.append(measured.size)
        print(
            f"sets of {level:.0%}: hold the label in {mean(shares):.2%}, {mean(sizes):.2f} classes",
            flush=True,
        )


def promised_errors(generator: torch.Generator) -> None:
    """How often new pictures break the error that a threshold promises."""
    for promise in (0.02, 0.05):
        broken = kept = 0
        for _ in range(1000):
            held_out = HeldOut.of(judged(*drawn(1500, generator)))
            try:
                threshold = threshold_for_error(held_out, promise)
            except UsageError:
                continue
            confidence = drawn(20_000, generator)[0].softmax(dim=1).amax(dim=1)
            error = float((1 - confidence[confidence >= threshold.confidence]).mean())
            broken, kept = broken + (error > promise), kept + (error <= promise)
        print(
            f"error below {promise:.0%}: promised in {broken + kept} of 1000 trials, broken in {broken}",
            flush=True,
        )


def few_pictures(generator: torch.Generator) -> None:
    """What fitting a temperature on few pictures does to the loss on others."""
    truth = drawn(10_000, generator)
    for count in (20, 50, 100, 400):
        for wrong in (1.0, 1.7):
            before = judged(truth[0] / wrong, truth[1]).loss
            after = []
            for _ in range(300):
                scores, labels = drawn(count, generator)
                temperature = fit_temperature(scores / wrong, labels)
                after.append(judged(truth[0] / wrong / temperature, truth[1]).loss)
            worse = mean(loss > before for loss in after)
            print(
                f"fitted on {count}, scores divided by {wrong}: loss {before:.4f} -> {mean(after):.4f}, "
                f"worse in {worse:.0%} of 300",
                flush=True,
            )


def on_mnist(seed: int) -> None:
    """One training by the default recipe; what its temperature, thresholds and sets do on the test set."""
    splits = pellucid.load("mnist")
    with tempfile.TemporaryDirectory() as place:
        recipe = Recipe.named("fast", seed=seed, threads=1)
        run = pellucid.fit("mnist", recipe, folder=Path(place) / "run", snapshots=0)
        found = run.evaluate(splits.test)
        assert isinstance(found, Evaluation)
        plain = at_temperature_one(found.probabilities, run.classifier.temperature)
        before = Evaluation(plain, found.labels, found.classes, found.sources)
        scores = run.classifier.logits(splits.test.images)
        assert torch.equal(found.predictions, scores.argmax(dim=1))
        was, now = before.calibration, found.calibration
        threshold = run.threshold(coverage=0.95)
        answered = found.confidence >= threshold.confidence
        wrong = int((~found.right[answered]).sum())
        print(
            f"seed {seed}: accuracy {found.accuracy:.4f} (without {before.accuracy:.4f}), temperature "
            f"{run.classifier.temperature:.3f}, loss {before.loss:.4f} -> {found.loss:.4f}, ECE "
            f"{was.error:.2%} -> {now.error:.2%} (limit {now.error_limit:.2%}, "
            f"{'beyond' if now.error_shown else 'inside'}), gap {was.gap:+.2%} -> {now.gap:+.2%} "
            f"({now.gap_low:+.2%} to {now.gap_high:+.2%})"
        )
        print(
            f"  --coverage 0.95: {int(answered.sum()) / found.count:.2%} answered, {wrong} wrong, "
            f"{wrong / int(answered.sum()):.3%}"
        )
        for promise in (0.005, 0.001):
            try:
                limit = run.threshold(max_error=promise)
            except UsageError as error:
                print(f"  --max-error {promise}: {error}")
                continue
            reached = found.confidence >= limit.confidence
            errors = int((~found.right[reached]).sum())
            print(
                f"  --max-error {promise}: {int(reached.sum()) / found.count:.2%} answered, "
                f"{errors / int(reached.sum()):.3%} wrong"
            )
        for level in (0.95, 0.995, 0.999):
            sets = set_scores(run.prediction_sets(level), found.probabilities, found.labels)
            print(
                f"  --sets {level}: {sets.covered / sets.count:.2%} hold the label, {sets.size:.3f} classes, "
                f"two in {sets.two}, more in {sets.more}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1] == "simulate":
        torch.set_num_threads(1)
        for part in (few_pictures, conformal, promised_errors, false_alarms):
            part(torch.Generator().manual_seed(0))
    elif sys.argv[1] == "groups":
        torch.set_num_threads(1)
        false_alarms_of_groups(int(sys.argv[2]) if len(sys.argv) > 2 else 400)
    else:
        for each in sys.argv[2:]:
            on_mnist(int(each))
