"""What scores are called and how they are written, wherever they are shown."""

from pellucid.evaluation.intervals import Estimate
from pellucid.formatting import decimal, percent
from pellucid.language import Message, lazy_gettext, translate

TITLES = {
    "accuracy": lazy_gettext("accuracy"),
    "balanced_accuracy": lazy_gettext("balanced accuracy"),
    "macro_f1": lazy_gettext("macro F1"),
    "micro_f1": lazy_gettext("micro F1"),
    "weighted_f1": lazy_gettext("weighted F1"),
    "mean_average_precision": lazy_gettext("mAP"),
    "hamming_loss": lazy_gettext("wrong decisions (Hamming loss)"),
    "loss": lazy_gettext("log loss"),
    "calibration_error": lazy_gettext("calibration error (ECE)"),
}
AMONG = lazy_gettext("label among the %(number)s likeliest")
SHARES = ("accuracy", "balanced_accuracy", "hamming_loss")  # written in percent, as every top_k


def title_of(name: str) -> Message:
    """The name of a score for people; "top_3" is "label among the 3 likeliest"."""
    if name.startswith("top_"):
        return Message(AMONG.sentence, {"number": int(name.removeprefix("top_"))})
    return TITLES[name]


def figure_of(name: str, value: float, count: int) -> str:
    """A score as it is written: shares of `count` pictures in percent, F1 to three places, losses to four."""
    if name in SHARES or name.startswith("top_"):
        return percent(value, count=count)
    return f"{value:.4f}" if name in ("loss", "calibration_error") else decimal(value)


def interval_of(name: str, score: Estimate, count: int) -> str:
    """Its 95 % interval in the same way, or why there is none; "" for a score that never has one."""
    if score.interval is None:
        return str(score.too_few or "")
    low, high = (figure_of(name, bound, count) for bound in score.interval)
    return translate("%(low)s to %(high)s", low=low, high=high)
