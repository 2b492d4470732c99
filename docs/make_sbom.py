"""Write docs/pellucid.cdx.json: the bill of materials that lies in the wheel (PEP 770), in CycloneDX 1.7.

What pyproject.toml asks for, with the versions that it allows, and what of others is in the package itself.
`python docs/make_sbom.py` writes the file, `python docs/make_sbom.py --print` shows it.
"""

import json
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from pellucid import __version__

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("pellucid.cdx.json")

# What others made and the package holds; NOTICE says the same in words.
EMBEDDED = [
    {
        "type": "data",
        "bom-ref": "viridis",
        "author": "Stéfan van der Walt and Nathaniel Smith",
        "name": "viridis",
        "description": "33 of the 256 colours of the map, in pellucid/assets/constants.json",
        "licenses": [{"license": {"id": "CC0-1.0"}}],
    },
    {
        "type": "data",
        "bom-ref": "colorbrewer",
        "author": "Cynthia Brewer, Mark Harrower and The Pennsylvania State University",
        "name": "ColorBrewer",
        "description": "three colours of its diverging schemes, in pellucid/assets/constants.json",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    },
]


def text() -> str:
    """The file's content. It has no date and no number of its own: the same sources give the same bytes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [external(Requirement(line), "required") for line in project["dependencies"]]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "dev"}
    optional = [external(Requirement(line), "optional") for lines in extras.values() for line in lines]
    package = f"pkg:pypi/{project['name']}@{__version__}"
    materials = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "library",
                "bom-ref": package,
                "name": project["name"],
                "version": __version__,
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": package,
                "components": EMBEDDED,
            },
        },
        "components": [*required, *optional],
        "dependencies": [{"ref": package, "dependsOn": [part["bom-ref"] for part in [*required, *optional]]}],
    }
    return json.dumps(materials, indent=2, ensure_ascii=False) + "\n"


def external(requirement: Requirement, scope: str) -> dict[str, object]:
    """A package that is not in the wheel but must be there when it runs, or may be."""
    limits = sorted(requirement.specifier, key=lambda limit: limit.operator, reverse=True)
    versions = "|".join(limit.version if limit.operator == "==" else str(limit) for limit in limits)
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{requirement.name}",
        "name": requirement.name,
        "versionRange": f"vers:pypi/{versions}",
        "isExternal": True,
        "scope": scope,
        "purl": f"pkg:pypi/{requirement.name}",
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(text(), end="")
    else:
        FILE.write_text(text(), encoding="utf-8")
