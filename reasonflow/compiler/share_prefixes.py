"""What several calls read stands in front of their prompts, in one order: the engine computes it once.

The order is that of a frequent-pattern tree: what lives longest and is read most comes first, so that the prompts of a
run form a trie with as few distinct tokens as their instructions allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reasonflow.compiler.rebuild import inside
from reasonflow.plan.nodes import Const, Each, Fork, Generate, Get, Loop, Node, Op, Pack, Plan, Race, When, Within
from reasonflow.prompts.layouts import Lead
from reasonflow.prompts.render import can_share
from reasonflow.prompts.titles import title


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of the run, wherever it is read."""

    key: Hashable
    depth: int
    """Bodies that are repeated around where it comes from: 0 lives as long as the run."""


def share_prefixes(plan: Plan) -> Plan:
    """The plan in which every call site knows which of its inputs stand in front.

    They are those that at least two calls of a run read: other sites, or the same site in other branches or rounds.
    Sites with the layout "dspy" neither get them nor count as readers: their prompts begin otherwise.
    """
    calls = list(_calls(plan, _top(plan), 0))
    readers: Counter[Hashable] = Counter()
    headings: dict[Hashable, str] = {}
    taken: set[str] = set()
    depths: dict[Hashable, int] = {}
    for call in calls:
        for field, value in call.reads.items():
            readers[value.key] += 2 if call.depth > value.depth else 1
            depths[value.key] = value.depth
            if value.key not in headings:
                headings[value.key] = _free(title(field, call.op.site.signature.input_fields[field]), taken)
    shared = [key for key in headings if readers[key] > 1]
    rank = {key: place for place, key in enumerate(sorted(shared, key=lambda key: (depths[key], -readers[key])))}
    leads: dict[str, tuple[tuple[Lead, ...], bool]] = {}
    for call in calls:
        first = sorted((f for f, v in call.reads.items() if v.key in rank), key=lambda f: rank[call.reads[f].key])
        lead = tuple(Lead(field, headings[call.reads[field].key]) for field in first)
        leads[call.name] = lead, call.beside and len(lead) < len(call.reads)
    return _laid_out(plan, leads)


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    op: Generate
    reads: Mapping[str, _Value]
    depth: int
    beside: bool
    """Whether others of the same site run beside it."""


def _top(plan: Plan) -> list[_Value]:
    return [_Value(("input", plan.nodes[position].name), 0) for position in plan.inputs]


def _calls(plan: Plan, given: Sequence[_Value], depth: int, *, beside: bool = False) -> Iterator[_Call]:
    """Every call that may share, in the plan's order, those inside bodies where these stand."""
    values: list[_Value] = []
    inputs = dict(zip(plan.inputs, given, strict=True))
    for position, node in enumerate(plan.nodes):
        args = [values[arg] for arg in node.args]
        values.append(inputs[position] if position in inputs else _value(node, args, depth))
        if isinstance(node.op, Generate):
            site = node.op.site
            if not site.continues and can_share(site.signature, site.style, site.adapter, site.layout.order):
                yield _Call(node.name, node.op, node.op.reads(args), depth, beside)
            continue
        repeated = isinstance(node.op, (Fork, Each, Loop))
        inner = beside or isinstance(node.op, (Fork, Each))
        for body, passed in _bodies(node, args, depth + 1):
            yield from _calls(body, passed, depth + repeated, beside=inner)


def _value(node: Node, args: Sequence[_Value], depth: int) -> _Value:
    match node.op:
        case Const():
            return _Value(("const", node.op), 0)
        case Get(key=key):
            return _Value(("get", args[0].key, key), args[0].depth)
        case Pack(keys=keys, kind=kind):
            parts = tuple(arg.key for arg in args)
            return _Value(("pack", kind, keys, parts), max((arg.depth for arg in args), default=0))
        case _:
            return _Value(("step", node.name), depth)


def _bodies(node: Node, args: Sequence[_Value], depth: int) -> Iterator[tuple[Plan, Sequence[_Value]]]:
    """The plans inside a node, each with what it is handed."""

    def own(what: str) -> _Value:
        return _Value((what, node.name), depth)

    match node.op:
        case Fork(body=body):
            yield body, [own("index"), *args]
        case Each(body=body):
            yield body, [*node.op.handed(own("item"), own("index"), own("found")), *args[1:]]
        case Loop(body=body):
            yield body, [own("state"), *args[1:]]
        case Within(body=body):
            yield body, args
        case When(then=then, otherwise=otherwise, split=split):
            yield then, args[1:split]
            yield otherwise, args[split:]
        case Race():
            yield from zip(node.op.bodies, node.op.captured(args), strict=True)
        case _:
            return


def _free(heading: str, taken: set[str]) -> str:
    """`heading`, or the first of `heading 2`, `heading 3`, ... that no other value has."""
    found, number = heading, 1
    while found in taken:
        number += 1
        found = f"{heading} {number}"
    taken.add(found)
    return found


def _laid_out(plan: Plan, leads: Mapping[str, tuple[tuple[Lead, ...], bool]]) -> Plan:
    def lay_out(node: Node) -> Node:
        node = inside(node, lambda body: _laid_out(body, leads))
        op: Op = node.op
        if not isinstance(op, Generate) or node.name not in leads:
            return node
        lead, siblings = leads[node.name]
        layout = replace(op.site.layout, lead=lead, siblings=siblings)
        return replace(node, op=replace(op, site=replace(op.site, layout=layout)))

    return replace(plan, nodes=tuple(map(lay_out, plan.nodes)))
