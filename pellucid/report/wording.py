"""Numbers as the page says them."""


def chance(probability: float) -> str:
    """A probability as "97.3 %"; what is not quite certain is never called 100 %, nor 0 % impossible."""
    if 0.9995 <= probability < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{probability * 100:.1f} %"


def brief(text: str, limit: int = 60) -> str:
    """`text`, its middle left out where it is longer than `limit`."""
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 + 1 :]}"
