"""What pellucid says of networks that nobody here wrote: is it right, or refused in words?

    python benchmarks/zoo.py --repositories FOLDER... [--out FOLDER] [--only WORD] [--seconds 240] [--quick]

The folders are checkouts of pytorch-cifar, pytorch-cifar100 and vit-pytorch (which needs einops). Those of
transformers are built from small configurations without network, ten more are written in zoo_networks.py.
Each gets random weights from a seed and runs in a process of its own, within limits of time and memory.
Checked on each:

record   every layer's output equals what hooks written here collect
explain  gives finite maps, or refuses by a PellucidError
layer    the layer chosen for evidence, held fixed, takes all of the picture's gradient (a cut)
lower    the page's program gives torch's scores within a fixed tolerance
page     a page can be written, and how large it is
state    weights, modes, hooks, gradients and random state are as they were

Writes zoo.md and zoo.json.
"""

import argparse
import gc
import hashlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from zoo_networks import Entry, entries

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError
from pellucid.explanation.activations import record
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.explanation import explain
from pellucid.explanation.places import evidence_place, function_of
from pellucid.exporters.page import export_page
from pellucid.pad.program import lower
from pellucid.pad.section import Subject

SEED = 0
TOLERANCE = 1e-4  # of a score, where the largest is 1; in proportion where it is larger
CUT = 1e-3  # share of the gradient that may bypass a cut, for rounding
MEMORY = 10 << 30  # bytes of addresses, libraries included
ALL_METHODS, SMOOTH = (
    40_000_000,
    200_000_000,
)  # multiply-adds up to which every method, or SmoothGrad, is tried
CHECKS = ("record", "explain", "layer", "lower", "page", "state")


def pictures(shape: tuple[int, int, int], count: int) -> Tensor:
    """Smooth random pictures 0..1 (count, *shape)."""
    generator = torch.Generator().manual_seed(SEED)
    coarse = torch.rand(count, shape[0], 8, 8, generator=generator)
    return functional.interpolate(coarse, shape[1:], mode="bilinear", align_corners=False)


def scores_of(output: Any) -> Tensor:
    """The scores in a network's output: the tensor, its "logits", or the first of several."""
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, dict):
        logits = output.get("logits")
    return logits if isinstance(logits, Tensor) else scores_of(next(iter(output)))


def fingerprint(network: nn.Module) -> dict[str, str]:
    """A hash of everything that a look at a network must leave as it was, by kind."""
    weights = hashlib.sha256()
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        weights.update(
            name.encode() + tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    modules = list(network.modules())
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in modules
    ]
    gradients = [(weight.requires_grad, weight.grad is None) for weight in network.parameters()]
    return {
        "weights": weights.hexdigest(),
        "modes": str([module.training for module in modules]),
        "hooks": str(hooks),
        "gradients": str(gradients),
        "random state": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
    }


def own_record(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Every layer's first output by plain hooks, under the names that `record` promises."""
    outputs: dict[str, Tensor] = {}
    runs: Counter[str] = Counter()

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = _first(output)
            runs[name] += 1
            if tensor is not None:
                key = name if runs[name] == 1 else f"{name}#{runs[name]}"
                outputs[key] = tensor.detach().float().clone()

        return hook

    handles = [
        module.register_forward_hook(hook_for(name or "network"))
        for name, module in network.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    ]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.no_grad(), torch.random.fork_rng():
        network(images)
    for handle in handles:
        handle.remove()
    for module, mode in modes:
        module.training = mode
    return outputs


def _first(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    parts = output.values() if hasattr(output, "values") else output
    if not isinstance(output, list | tuple | dict):
        return None
    return next((tensor for part in parts if (tensor := _first(part)) is not None), None)


def share_past(network: nn.Module, images: Tensor, layer: str) -> float:
    """The share of the picture's gradient, of the largest score, that does not go through `layer`."""
    name, _, run = layer.partition("#")
    module = network if name == "network" else dict(network.named_modules(remove_duplicate=False))[name]
    wanted, runs = int(run or 1), 0
    network.eval()

    def gradient(*, held: bool) -> Tensor:
        nonlocal runs
        runs = 0
        picture = images.clone().requires_grad_()
        handle = module.register_forward_hook(hold) if held else None
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(SEED)
            best = scores_of(network(picture)).flatten(1)[:, target].sum()
        if handle is not None:
            handle.remove()
        if not best.requires_grad:
            return torch.zeros_like(picture)
        found = torch.autograd.grad(best, picture, allow_unused=True)[0]
        return torch.zeros_like(picture) if found is None else found

    def hold(module: nn.Module, inputs: Any, output: Any) -> Any:
        nonlocal runs
        runs += 1
        return _detached(output) if runs == wanted else output

    with torch.no_grad():
        target = int(scores_of(network(images)).flatten(1)[0].argmax())
    whole, past = gradient(held=False).abs().sum(), gradient(held=True).abs().sum()
    return float(past / whole.clamp_min(1e-30))


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*(_detached(part) for part in output))
    if isinstance(output, list | tuple):
        return type(output)(_detached(part) for part in output)
    if isinstance(output, dict):
        for key in list(output):
            output[key] = _detached(output[key])
    return output


# --- the checks: each gives its outcome, "ok" or what is wrong, and facts beside it


def check_record(network: nn.Module, images: Tensor, facts: dict[str, Any]) -> str:
    """Equal to hooks written here, in names, order and every bit."""
    found, expected = record(network, images), own_record(network, images)
    facts["layers"] = len(found)
    if list(found) != list(expected):
        return f"wrong: other layers: {sorted(set(found) ^ set(expected))[:4]}"
    apart = [key for key in found if not torch.equal(found[key].nan_to_num(7), expected[key].nan_to_num(7))]
    return f"wrong: values differ in {apart[:4]}" if apart else "ok"


def check_explain(network: nn.Module, images: Tensor, facts: dict[str, Any]) -> str:
    """Finite maps by every method that is cheap enough."""
    cost = facts["multiply_adds"]
    methods = [
        name
        for name, method in EXPLAINERS.items()
        if method.at_layer
        or (not facts["quick"] and (cost <= ALL_METHODS or (name == "smoothgrad" and cost <= SMOOTH)))
    ]
    facts["methods"] = methods
    explanation = explain(network, images[0], methods=methods)
    facts["notes"] = [str(note) for note in explanation.notes]
    odd = [name for name, heat in explanation.heatmaps.items() if not bool(heat.isfinite().all())]
    return f"wrong: not finite: {odd}" if odd else "ok"


def check_layer(network: nn.Module, images: Tensor, facts: dict[str, Any]) -> str:
    """The layer for evidence is a cut; or the explanation's notes say that it is not."""
    place = evidence_place(network, images[:1])
    layer = place.name
    past = place.bypass if function_of(network, layer) else share_past(network, images[:1], layer)
    facts.update(layer=layer, share_past=past)
    if past <= CUT:
        return "ok"
    said = [note for note in facts.get("notes", ()) if "bypass" in note or "past" in note]
    return f"ok: said: {said[0]}" if said else f"wrong: {past:.0%} of the gradient bypasses {layer}"


def check_lower(network: nn.Module, images: Tensor, facts: dict[str, Any]) -> str:
    """The program's scores are torch's."""
    program = lower(network, images.shape[1:])
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(SEED)
        expected = scores_of(network.eval()(images))
        found = program.run(images, program.weights(network.state_dict()))[-1]
    if found.shape != expected.shape:
        return f"wrong: scores {tuple(found.shape)}, torch's {tuple(expected.shape)}"
    apart = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    facts["difference"] = apart
    return "ok" if apart <= TOLERANCE else f"wrong: scores differ by {apart:.2g}"


def check_page(network: nn.Module, images: Tensor, facts: dict[str, Any]) -> str:
    """A page to draw in is written."""
    with torch.no_grad():
        count = scores_of(network.eval()(images)).shape[1]
    channels, height, width = images.shape[1:]
    classifier = Classifier(
        network, tuple(f"class {k}" for k in range(count)), Preprocess(channels, height, width), "zoo"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = export_page(Subject(classifier), Path(folder) / "page.html")
        facts["page_bytes"] = path.stat().st_size
    return "ok"


def outcome(check: Callable[[], str]) -> str:
    """The outcome of a check; an error that is not in pellucid's words is a fault."""
    try:
        return check()
    except PellucidError as error:
        return f"refused: {error}"
    except MemoryError:
        return "raised: MemoryError"
    except Exception as error:
        lines = [
            frame for frame in traceback.extract_tb(error.__traceback__) if "pellucid/" in frame.filename
        ]
        where = f" in {Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else ""
        return f"raised: {type(error).__name__}{where}: {' '.join(str(error).split())[:300]}"


def examine(entry: Entry, *, quick: bool) -> Iterator[tuple[str, Any]]:
    """Every check of one network: (name of the check or fact, what came out), as soon as it is known."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    network = entry.build()
    images = pictures(entry.shape, 2)
    weights = sum(weight.numel() for weight in network.parameters())
    facts: dict[str, Any] = {"weights": weights, "quick": quick}
    counter = FlopCounterMode(display=False)
    network.eval()
    with counter, torch.enable_grad():  # without gradients it fails on weights that are given to modules
        network(images[:1])
    facts["multiply_adds"] = counter.get_total_flops() // 2
    network.train()
    changed = []
    for name, check in (
        ("record", check_record),
        ("explain", check_explain),
        ("layer", check_layer),
        ("lower", check_lower),
        ("page", check_page),
    ):
        before, start = fingerprint(network), time.perf_counter()
        yield "under way", name
        result = outcome(lambda check=check: check(network, images, facts))
        after = fingerprint(network)
        if name in ("record", "explain"):  # the others put it into evaluation mode themselves
            changed += [f"{kind} by {name}" for kind in before if before[kind] != after[kind]]
        else:
            changed += [f"weights by {name}"] if before["weights"] != after["weights"] else []
        network.train()
        yield name, result
        yield "facts", {**facts, f"seconds_{name}": round(time.perf_counter() - start, 2)}
    yield "state", f"wrong: {', '.join(changed)}" if changed else "ok"


def in_child(entry: Entry, sender: Any, quick: bool) -> None:
    """`examine` in a process of its own, within its memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    try:
        for item in examine(entry, quick=quick):
            sender.send(item)
    except Exception as error:
        sender.send(("built", f"raised: {type(error).__name__}: {' '.join(str(error).split())[:300]}"))
    sender.close()
    os._exit(0)


def result_of(entry: Entry, seconds: float, *, quick: bool) -> dict[str, Any]:
    """All outcomes of one network; what was under way when its time ran out is "timeout"."""
    context = multiprocessing.get_context("fork")  # torch and transformers are imported once
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=in_child, args=(entry, sender, quick))
    child.start()
    sender.close()
    found: dict[str, Any] = {"name": entry.name, "family": entry.family, "shape": entry.shape, "facts": {}}
    end, under_way = time.monotonic() + seconds, "built"
    while (left := end - time.monotonic()) > 0 and receiver.poll(left):
        try:
            name, value = receiver.recv()
        except EOFError:
            break
        if name == "under way":
            under_way = value
        elif name == "facts":
            found["facts"].update(value)
        else:
            found[name] = value
    else:
        found[under_way] = f"timeout: {seconds:.0f} s"
    if child.is_alive():
        child.kill()
    child.join()
    if under_way not in found:
        found[under_way] = f"raised: the process ended with {child.exitcode}"
    return found


# --- the table


def kind_of(result: str) -> str:
    """ "ok", "refused", "wrong", "raised" or "timeout"."""
    return result.partition(":")[0] if result else "-"


def reasons(found: list[dict[str, Any]], check: str) -> Counter[str]:
    """Why a check did not succeed, most often first; names and numbers of one network left out."""
    counted: Counter[str] = Counter()
    for one in found:
        result = one.get(check, "- not reached")
        if kind_of(result) == "ok":
            continue
        operation = result.split("cannot run '")[1].split("'")[0] if "cannot run '" in result else ""
        words = "refused: the engine cannot run " + operation if operation else result.split(" in layer ")[0]
        counted["".join("#" if letter.isdigit() else letter for letter in words[:170])] += 1
    return counted


def table(found: list[dict[str, Any]]) -> str:
    """Everything as Markdown: totals, reasons by frequency, one row a network."""
    lines = [
        f"# {len(found)} networks",
        "",
        "| check | ok | refused | wrong | raised | timeout | not reached |",
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for check in ("built", *CHECKS):
        kinds = Counter(kind_of(one.get(check, "ok" if check == "built" else "")) for one in found)
        counts = (kinds[kind] for kind in ("ok", "refused", "wrong", "raised", "timeout", "-"))
        lines.append(f"| {check} | {' | '.join(str(count) for count in counts)} |")
    for check in ("built", *CHECKS):
        counted = reasons([one for one in found if check != "built" or check in one], check)
        lines += ["", f"## {check}: reasons", ""] if counted else []
        lines += [f"- {count} x {reason}" for reason, count in counted.most_common()]
    lines += [
        "",
        "## networks",
        "",
        "| network | weights | multiply-adds | record | explain | layer | past it | lower | page | state |",
    ]
    lines.append("|---|---:|---:|---|---|---|---:|---|---|---|")
    for one in found:
        facts = one["facts"]
        past = facts.get("share_past")
        page = (
            f"{facts['page_bytes'] / 1e6:.1f} MB" if "page_bytes" in facts else kind_of(one.get("page", ""))
        )
        cells = [
            one["name"],
            f"{facts.get('weights', 0) / 1e6:.2f} M",
            f"{facts.get('multiply_adds', 0) / 1e6:.0f} M",
            *(kind_of(one.get(check, "")) for check in ("record", "explain")),
            f"{kind_of(one.get('layer', ''))} {facts.get('layer', '')}".replace("|", "/"),
            "" if past is None else f"{past:.1%}",
            kind_of(one.get("lower", "")),
            page,
            kind_of(one.get("state", "")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Examine the networks one after the other and write the table after each."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--repositories", type=Path, nargs="*", default=[])
    arguments.add_argument("--out", type=Path, default=Path("build/zoo"))
    arguments.add_argument("--only", default="", help="networks whose name has this word")
    arguments.add_argument("--seconds", type=float, default=240.0, help="for one network")
    arguments.add_argument("--quick", action="store_true", help="explain by the methods of a layer alone")
    given = arguments.parse_args()
    import transformers.models  # noqa: F401  # once, before the processes part

    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    for entry in entries([folder.resolve() for folder in given.repositories]):
        if given.only not in entry.name:
            continue
        start = time.monotonic()
        found.append(result_of(entry, given.seconds, quick=given.quick))
        gc.collect()
        outcomes = " ".join(f"{check}={kind_of(found[-1].get(check, ''))}" for check in CHECKS)
        print(f"{entry.name}: {outcomes} {time.monotonic() - start:.0f} s", flush=True)
        (given.out / "zoo.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        (given.out / "zoo.md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
