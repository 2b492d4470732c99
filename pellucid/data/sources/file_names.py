"""Which file of a tree a table means: by its path, its name alone, or its name without a suffix."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from pellucid.data.sources.listing import natural_key, split_of
from pellucid.data.sources.tree import Tree
from pellucid.errors import UsageError
from pellucid.formatting import listed


def plain_name(value: str) -> str:
    """A path as in a tree: "cat/1.png" for ".\\\\cat\\\\1.png"; an absolute one keeps its beginning."""
    path = value.strip().replace("\\", "/")
    if is_absolute(path):
        return path
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def is_absolute(path: str) -> bool:
    """Whether a path is absolute on this or another system."""
    return path.startswith("/") or path[1:2] == ":"


class FileNames:
    """The pictures of a tree, found by whatever a table calls them."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.by_name: dict[str, list[str]] = defaultdict(list)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        for file in tree.pictures():
            name = file.rpartition("/")[2]
            self.by_name[name].append(file)
            self.by_stem[name.rpartition(".")[0] or name].append(file)

    def candidates(self, value: str, prefix: str = "") -> list[str]:
        """The files a value may mean; the one at exactly that path alone if there is one."""
        path = plain_name(value)
        if not path or ".." in path.split("/"):
            return []
        if prefix + path in self.tree.sizes:
            return [prefix + path]
        name = path.rpartition("/")[2]
        named = self.by_name.get(name) or self.by_stem.get(name, [])
        tails = [file for file in named if _without_suffix(f"/{file}", path).endswith(f"/{path}")]
        return tails or named

    def has(self, value: str) -> bool:
        """Whether a value names a picture."""
        return bool(self.candidates(value))

    def resolve(self, table: str, values: Sequence[str], *, prefix: str = "", split: str = "") -> list[str]:
        """The file each value means, "" where there is none.

        Where a name is in several folders, all of a table's names are looked for in the same one: the one
        that has most of them, or else the split's. Raises UsageError if that leaves more than one.
        """
        found = [self.candidates(value, prefix) for value in values]
        folders = Counter(_folder(file) for files in found for file in files)
        if split and (own := {folder for folder in folders if split_of(folder.split("/")[0]) == split}):
            found = [[file for file in files if _folder(file) in own] or files for files in found]
            folders = Counter(_folder(file) for files in found for file in files)
        chosen = []
        for value, files in zip(values, found, strict=True):
            if len(files) > 1:
                most = max(folders[_folder(file)] for file in files)
                best = [file for file in files if folders[_folder(file)] == most]
                best = [file for file in best if split_of(file.split("/")[0]) == "train"] or best
                if len(best) > 1:
                    where = listed(sorted(best, key=natural_key))
                    raise UsageError(
                        f"'{table}' names '{value}', which is {where}. Write paths relative to the table."
                    )
                files = best
            chosen.append(files[0] if files else "")
        return chosen


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def _without_suffix(file: str, like: str) -> str:
    """The file's name, without its suffix unless `like` has the same."""
    suffix = PurePosixPath(file).suffix
    return file if like.endswith(suffix) else file.removesuffix(suffix)
