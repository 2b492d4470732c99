"""The templates of the pages, and the filters and colour scales they share."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from pellucid.formatting import brief, chance, decimal, percent, times
from pellucid.language import gettext, ngettext
from pellucid.plots import images


@cache  # so that a process compiles each template once: a report's take more than half a second
def environment_of_pages() -> Environment:
    """The templates of `assets/` with the filters they use; everything written into them is escaped."""
    environment = Environment(
        loader=PackageLoader("pellucid", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.globals |= {"gettext": gettext, "ngettext": ngettext}
    environment.newstyle_gettext = True  # type: ignore[attr-defined]  # the extension's own switch
    environment.filters |= {
        "thousands": lambda number: f"{number:,}",
        "decimal": decimal,
        "percent": percent,
        "chance": chance,
        "times": times,
        "plural": lambda number, one, many: f"{number:,} {one if number == 1 else many}",
        "brief": brief,
        "tight": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%"),
    }
    return environment


def gradient(colours: images.Colours) -> str:
    """A colour scale as the stops of a CSS gradient."""
    return ", ".join(f"rgb{colour}".replace(" ", "") for colour in colours)


SCALES = {"viridis": images.VIRIDIS, "signed": images.SIGNED}
