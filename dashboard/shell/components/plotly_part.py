"""The part of plotly.js that the charts of pages need, cut out of the file that Plotly's Python package brings.

That file is one function with a module in each of about 1,200 variables, which is run once another asks for it, and at
its end a list of the kinds of traces. With a shorter list most modules are asked for by none. Of 4.8 MB 1.2 are left.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib import resources

TRACES = frozenset({"bar", "box", "heatmap"})  # beside scatter, which the rest needs
NAME = r"[\w$]+"
# The helper that makes a module of a function: var W=(e,t)=>()=>{try{return t||e((t={exports:{}}).exports,t),...
HELPER = re.compile(
    rf"var ({NAME})=\((\w+),(\w+)\)=>\(\)=>{{try{{return \3\|\|\2\(\(\3={{exports:{{}}}}\)\.exports,\3\)"
)
REGISTERED = re.compile(rf"\.register\(\[((?:{NAME}\(\),?)+)\]\)")
CALL = re.compile(rf"({NAME})\(\)")
PASSED_ON = re.compile(rf"\.exports=({NAME})\(\)}}\);$")  # a module that is another under a second name
KIND = re.compile(r'moduleType:"trace",name:"(\w+)"')


class UnknownShapeError(ValueError):
    """The error of a plotly.js that is not built as this module knows it."""


def whole() -> str:
    """Return plotly.js as Plotly's package brings it."""
    return (resources.files("plotly") / "package_data/plotly.min.js").read_text(encoding="utf-8")


def part(source: str, traces: Collection[str] = TRACES) -> str:
    """Return plotly.js with the core and some kinds of traces alone, the licence at its top.

    Args:
        source: plotly.min.js.
        traces: names of the kinds, as in bar.
    Raises:
        UnknownShapeError: modules, their list or a kind are not found.
    """
    helper = HELPER.search(source)
    if helper is None:
        raise UnknownShapeError("plotly.js: no helper that makes modules")
    start = re.compile(rf"(?<=}}\);)var ({NAME})={re.escape(helper[1])}\((?:\([\w$,]*\)|{NAME})=>{{")
    found = [(match.start(), match[1]) for match in start.finditer(source)]
    if len({name for _, name in found}) < max(len(found), 1):
        raise UnknownShapeError("plotly.js: no modules, or two of one name")
    ends = [place for place, _ in found[1:]] + [len(source)]
    modules = {name: source[place:end] for (place, name), end in zip(found, ends, strict=True)}
    last = found[-1][1]
    listed = REGISTERED.search(modules[last])
    if listed is None:
        raise UnknownShapeError("plotly.js: no list of kinds of traces at its end")
    kinds = {_kind(modules, name): name for name in CALL.findall(listed[1])}
    if missing := set(traces) - set(kinds):
        raise UnknownShapeError(f"plotly.js: no kind of trace {', '.join(sorted(missing))}")
    chosen = ",".join(f"{kinds[trace]}()" for trace in sorted(traces))
    modules[last] = modules[last].replace(listed[1], chosen, 1)
    used = _reached(modules, last)
    return source[: found[0][0]] + "".join(text for name, text in modules.items() if name in used)


def _kind(modules: dict[str, str], name: str) -> str:
    """Return the name of the kind of trace that a module, or the one it passes on, describes; "" for none."""
    text = modules.get(name, "")
    while (passed := PASSED_ON.search(text)) and passed[1] in modules and passed[1] != name:
        name, text = passed[1], modules[passed[1]]
        if kind := KIND.search(text):
            return kind[1]
    kind = KIND.search(text)
    return kind[1] if kind else ""


def _reached(modules: dict[str, str], first: str) -> set[str]:
    """Return the modules that one asks for, and those ask for, and so on."""
    reached, left = {first}, [first]
    while left:
        asked = {name for name in CALL.findall(modules[left.pop()]) if name in modules} - reached
        reached |= asked
        left += asked
    return reached
