"""EXPLAIN for reasoning: a plan as people read it, and after a run with what happened beside each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reasonflow.plan.bounds import Bound, bound, limited, node_bound
from reasonflow.plan.budget import Budget
from reasonflow.plan.explain_html import as_html
from reasonflow.plan.explain_text import as_text
from reasonflow.plan.nodes import (
    Answer,
    Call,
    Const,
    Each,
    Fork,
    Generate,
    Get,
    Input,
    Loop,
    Node,
    Op,
    Pack,
    Plan,
    Quorum,
    Race,
    Select,
    Site,
    Vote,
    When,
    Within,
)
from reasonflow.plan.serialise import digest, to_json
from reasonflow.prompts.adapted import has_own_format
from reasonflow.prompts.context import AFTER
from reasonflow.prompts.render import WORTH_SHARING


@dataclass(slots=True)
class Measured:
    """What the samples of one step did, summed."""

    samples: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    queued_s: float = 0.0
    running_s: float = 0.0
    failed: int = 0
    cancelled: int = 0
    repaired: int = 0
    critical_tokens: int = 0
    """Input and output tokens of its samples on the critical path."""
    foreseen: int = 0
    """Samples of which the token trie said what they would find in the prefix cache, and the engine what they found."""
    planned_tokens: int = 0
    """Cached tokens of these, as planned."""
    found_tokens: int = 0
    """As achieved."""
    shortfall: str = ""
    """Why less was found than planned, in one line; empty where it was not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the tree."""

    depth: int
    node: Node
    title: str
    detail: tuple[str, ...]
    """Lines below the title: prompt segments, caps, what it reads."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """A plan, explained. `print` it, show it in a notebook, or take `to_json()`."""

    program: str
    plan: Plan
    window: int | None
    figures: Mapping[str, Measured] = field(default_factory=dict)
    totals: Mapping[str, str] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    budget: Budget | None = None
    """What every run of it may spend."""
    finishes: bool = True
    """Whether the budget holds the whole plan, or a run must end at an earlier answer."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the engines, and what the functions of a run have said."""

    def measured(
        self,
        figures: Mapping[str, Measured],
        totals: Mapping[str, str],
        repairs: tuple[str, ...],
        failures: tuple[str, ...],
        notes: tuple[str, ...] = (),
    ) -> Explanation:
        """The same tree with what a run measured, by the steps' names."""
        told = (*self.notes, *notes)
        return replace(self, figures=figures, totals=totals, repairs=repairs, failures=failures, notes=told)

    @property
    def bound(self) -> Bound:
        """The worst case of the whole plan, within the budget if there is one."""
        worst = bound(self.plan, self.window)
        return worst if self.budget is None else limited(worst, self.budget)

    def rows(self) -> list[Row]:
        """The steps that do something, bodies below their nodes; reading a field is no step."""
        sites: list[tuple[str, tuple[str, ...]]] = []
        return _rows(self.plan, 0, self.window, sites)

    def to_json(self) -> dict[str, Any]:
        """The plan, its digest and bounds, and each step's explanation, in JSON's types."""
        worst = self.bound
        return {
            "program": self.program,
            "digest": digest(self.plan),
            "window": self.window,
            **({"budget": self.budget.limits, "finishes": self.finishes} if self.budget is not None else {}),
            "bound": {name: getattr(worst, name) for name in Bound.__slots__},
            "steps": [
                {
                    "name": row.node.name,
                    "depth": row.depth,
                    "title": row.title,
                    "detail": list(row.detail),
                    "source": row.node.source,
                    **({} if row.node.allowance is None else {"allowance": row.node.allowance}),
                    **({"measured": _figures(self.figures[row.node.name])} if row.node.name in self.figures else {}),
                }
                for row in self.rows()
            ],
            **({"totals": dict(self.totals)} if self.totals else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "plan": to_json(self.plan),
        }

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return as_text(self)  # what a terminal shows of a last expression: the fields would fill screens

    def _repr_html_(self) -> str:
        return as_html(self)


@dataclass(frozen=True, slots=True)
class Printed:
    """An explanation as it read when its run was pickled: plans hold DSPy's signature classes, which do not pickle."""

    text: str
    page: str
    data: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As the explanation's."""
        return dict(self.data)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.page


def explain(
    program: str,
    plan: Plan,
    window: int | None,
    budget: Budget | None = None,
    *,
    finishes: bool = True,
    notes: tuple[str, ...] = (),
) -> Explanation:
    """The explanation of a plan on an engine with this window (None: unknown)."""
    return Explanation(program, plan, window, budget=budget, finishes=finishes, notes=notes)


def _rows(plan: Plan, depth: int, window: int | None, sites: list[tuple[str, tuple[str, ...]]]) -> list[Row]:
    rows: list[Row] = []
    for node in plan.nodes:
        title = _title(node)
        if title is None:
            continue
        rows.append(Row(depth, node, title, _detail(plan, node, window, sites)))
        for caption, body in _bodies(node.op):
            deeper = depth + 1
            if caption:
                rows.append(Row(deeper, replace(node, name=f"{node.name}.{caption}"), caption, ()))
                deeper += 1
            rows.extend(_rows(body, deeper, window, sites))
    return rows


def _bodies(op: Op) -> list[tuple[str, Plan]]:
    match op:
        case Fork() | Each() | Loop() | Within():
            return [("", op.body)]
        case Race():
            return [(f"racer {number}", body) for number, body in enumerate(op.bodies, start=1)]
        case When():
            return [("then", op.then), ("otherwise", op.otherwise)]
        case _:
            return []


def _title(node: Node) -> str | None:
    match node.op:
        case Generate(n=n):
            return node.name if n is None else f"{node.name} × {n}"
        case Fork(n=n):
            return f"{node.name}: {n} branches"
        case Each(cap=cap, needs=needs):
            waits = ", each behind those that it needs" if needs else ""
            return f"{node.name}: one branch per item, at most {cap}{waits}"
        case Loop(max_rounds=rounds, until=until):
            return f"{node.name}: at most {rounds} rounds{', until a condition holds' if until else ''}"
        case When():
            return f"{node.name}: one of two sides"
        case Race(bodies=racers, accept=accept):
            return f"{node.name}: the first {'accepted ' if accept else ''}of {len(racers)} wins"
        case Within(budget=budget):
            return f"{node.name}: at most {budget}"
        case Call(cap=cap, effects=effects):
            marks = [f"at most {cap} model calls"] * bool(cap) + ["has effects"] * effects
            return f"{node.name}()" + (f" [{', '.join(marks)}]" if marks else "")
        case Vote(by=by):
            return f"{node.name}{f' by {by}' if by else ''}"
        case Quorum(by=by, need=need):
            rule = "as soon as the rest cannot change it" if need is None else f"as soon as {need} agree"
            return f"{node.name}{f' by {by}' if by else ''}, {rule}"
        case Select(mode=mode, k=k, single=single):
            return f"{node.name} by {mode}{'' if single else f', {k} items'}"
        case Answer():
            return node.name
        case _:
            return None


def _detail(plan: Plan, node: Node, window: int | None, sites: list[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    lines: list[str] = []
    op = node.op
    if isinstance(op, Generate):
        reads = op.reads([_spell(plan, arg) for arg in node.args])
        segments = _segments(op.site, reads)
        lines.append(f"prompt: {' · '.join(segments)}")
        if op.site.demos and op.site.layout.lead and op.site.layout.order == "auto":
            lines.append("its demos stand in front where they are longer than what it shares")
        if op.site.layout.lead and op.site.layout.order == "auto":
            names = ", ".join(each.field for each in op.site.layout.lead)
            lines.append(f"shared layout: {names} in front from {WORTH_SHARING:,} characters on, else DSPy's layout")
        if op.site.layout.order != "dspy" and op.site.style == "fields" and has_own_format(op.site.adapter):
            lines.append(f"DSPy's layout: {type(op.site.adapter).__name__} puts its messages together itself")
        if op.n is not None and op.n > 1:
            once = "runs once: temperature 0" if op.site.sampling.temperature == 0 else "the whole prompt shared"
            lines.append(f"{op.n} samples of one prompt: {once}")
        for name, other in sites:
            common = _common(segments, other)
            if common > 1:
                long = ", where long enough" if op.site.layout.lead and op.site.layout.order == "auto" else ""
                lines.append(f"shares {' · '.join(segments[:common])} with {name}{long}")
                break
        sites.append((node.name, segments))
        worst = node_bound(node, window)
        settings = [f"{key}={value}" for key, value in _settings(op.site).items()]
        lines.append(
            f"{op.site.style} answer; {', '.join(settings) or 'engine defaults'}; at most {_spell_node(worst)}"
        )
        if op.gated and op.site.watch is not None:
            score = type(op.site.watch).__name__
            lines.append(f"a sample ends as soon as its {score} falls below ‹{_spell(plan, node.args[-1])}›")
        if node.allowance is not None:
            floor = min(op.site.floor_tokens, node.allowance)
            lines.append(
                f"budget: {node.allowance:,} output tokens a sample if all calls use theirs, never below {floor}"
            )
    elif node.args:
        lines.append("reads " + ", ".join(dict.fromkeys(_spell(plan, arg) for arg in node.args)))
    if isinstance(op, (Generate, Fork, Each)):
        if op.min_branches is not None:
            lines.append(f"gives at least {op.min_branches} or fails")
        if op.stops:
            lines.append("ends as soon as its quorum is decided")
        if node.streams:
            names = ", ".join(_spell(plan, join) for join in node.streams)
            lines.append(f"streams to {names}: what reads only that starts as soon as it is decided")
    return tuple(lines)


def _segments(site: Site, reads: Mapping[str, str]) -> tuple[str, ...]:
    """What stands in the prompt, front to back: what is equal in front is computed once."""
    if AFTER in reads and site.continues:
        return (f"all of ‹{reads[AFTER]}›, token by token",)
    demos = [f"{len(site.demos)} demos of {site.name}"] if site.demos else []
    request, shared = f"request of {site.name}", {each.field for each in site.layout.lead}
    rest = [f"{name} ‹{source}›" for name, source in reads.items() if name not in shared]
    if site.style == "fields" and not shared:
        return (f"system (fields of {site.name})", *demos, *rest)
    if site.layout.order == "dspy" or (site.layout.order == "auto" and not shared):
        return (f"system ({request})", *demos, *rest)
    lead = [f"{each.heading} ‹{reads[each.field]}›" for each in site.layout.lead]
    if not shared and len(reads) == 1:
        rest = [f"‹{source}›" for source in reads.values()]
    first = site.style == "fields" or (site.layout.siblings and (lead or site.layout.order == "shared"))
    own = [request, *demos, *rest] if first or (demos and lead) else [*demos, *rest, request]
    return ("system", *lead, *own)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _settings(site: Site) -> dict[str, Any]:
    sampling = site.sampling
    pairs = {name: getattr(sampling, name) for name in sampling.__dataclass_fields__ if name not in ("seed", "stop")}
    shown = {name: value for name, value in pairs.items() if value is not None and value is not False}
    if sampling.stop:
        shown["stop"] = sampling.stop
    if site.retries:
        shown["retries"] = site.retries
    if site.solution_tokens is not None:
        shown["solution_tokens"] = site.solution_tokens
    return shown


def _spell(plan: Plan, position: int) -> str:
    node = plan.nodes[position]
    match node.op:
        case Get(key):
            inner = _spell(plan, node.args[0])
            if isinstance(key, str):
                return f"{inner}.{key}"
            if isinstance(key, int):
                return f"{inner}[{key}]"
            return f"{inner}[{':'.join('' if part is None else str(part) for part in key).rstrip(':') or ':'}]"
        case Const() | Input():
            return node.name
        case Pack():
            return "(" + ", ".join(_spell(plan, arg) for arg in node.args) + ")"
        case _:
            return node.name


def _spell_node(worst: Bound) -> str:
    calls = "one call" if worst.calls == 1 else f"{worst.calls} calls"
    prompt = "" if worst.total_tokens is None else f", {worst.total_tokens:,} tokens"
    generated = "" if worst.output_tokens is None else f", {worst.output_tokens:,} generated"
    return calls + prompt + generated


def _figures(figures: Measured) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in Measured.__slots__}
