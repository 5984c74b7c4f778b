"""`program.estimate(examples)`: what runs over examples will take, before a token is spent.

Nothing runs and no engine starts: prompts are rendered and counted by the engine's tokenizer. The low and high ends are
what the plan makes possible; the likely value is what earlier runs measured, and there is none without them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import dspy

from reasonflow.compiler.passes import lower
from reasonflow.errors import InputError
from reasonflow.language.program import Traced, trace
from reasonflow.plan.budget import Budget
from reasonflow.plan.extent import Asked, Extent, Prompted, Reader, known, limited
from reasonflow.plan.nodes import Call, Generate, Site
from reasonflow.runtime.call import template
from reasonflow.runtime.engines import backend_behind, price_behind, widest
from reasonflow.runtime.fitting import Fitting, prompt_tokens
from reasonflow.runtime.measured import FIGURES, Measured, Past, measured
from reasonflow.runtime.price import Price
from reasonflow.runtime.reading import flowing

if TYPE_CHECKING:
    from reasonflow.language.program import Program

UNMEASURED = "no measurement: pass history=, or let --dry-run take a pilot"
OTHER_PLAN = "not measured: the history's runs had another plan"
NAMES = ("calls", *FIGURES[1:], "seconds", "dollars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure before it is known."""

    low: float
    """What it takes at least, if nothing fails and no budget cuts."""
    likely: float | None = None
    """As earlier runs measured; None where nothing is measured."""
    high: float | None = None
    """What it takes at most; None where nothing bounds it."""
    expected: tuple[float, float] | None = None
    """The 95 % interval of what it will be, where enough problems were measured to tell."""

    def times(self, factor: float) -> Interval:
        """Every end of it so many times."""
        return Interval(
            low=self.low * factor,
            likely=None if self.likely is None else self.likely * factor,
            high=None if self.high is None else self.high * factor,
            expected=None if self.expected is None else (self.expected[0] * factor, self.expected[1] * factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run takes. None: nothing is known of it; the estimate's `reasons` say why."""

    calls: Interval | None = None
    """Samples drawn."""
    sequential_tokens: Interval | None = None
    """Input and output tokens along the longest path of a run. Over many runs: the lowest low, the mean, the highest
    high."""
    input_tokens: Interval | None = None
    output_tokens: Interval | None = None
    total_tokens: Interval | None = None
    seconds: Interval | None = None
    """At the pace of the history."""
    dollars: Interval | None = None
    """By the token, or by the hour of the engine."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Estimate:
    """What runs over examples will take together. `print` it, show it in a notebook, or take `to_json()`."""

    program: str
    model: str
    examples: int
    samples: int
    """Runs per example."""
    budget: Budget | None
    """Of each run."""
    calls: Interval | None
    sequential_tokens: Interval | None
    """Of one run, as in `Figures`."""
    input_tokens: Interval | None
    output_tokens: Interval | None
    total_tokens: Interval | None
    seconds: Interval | None
    dollars: Interval | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a figure, or its likely or high end, is missing; by the figure's name."""
    notes: tuple[str, ...] = ()
    """What the figures rest on."""
    each: tuple[Figures, ...] = ()
    """One run of each example."""

    @property
    def figures(self) -> dict[str, Interval | None]:
        """All of them together, by name."""
        return {name: getattr(self, name) for name in NAMES}

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {
            "program": self.program,
            "model": self.model,
            "examples": self.examples,
            "samples": self.samples,
            "budget": None if self.budget is None else self.budget.limits,
            **{name: None if found is None else asdict(found) for name, found in self.figures.items()},
            "reasons": dict(self.reasons),
            "notes": list(self.notes),
            "each": [asdict(figures) for figures in self.each],
        }

    def __str__(self) -> str:
        rows = [("", "low", "likely", "high", ""), *self._rows()]
        lines = [
            f"{name:<24}{low:>14}{likely:>14}{high:>14}  {note}".rstrip() for name, low, likely, high, note in rows
        ]
        return "\n".join([self._title(), *lines, *(f"- {note}" for note in (*self._missing(), *self.notes))])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "<tr><th></th><th>low</th><th>likely</th><th>high</th><th></th></tr>"
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        notes = "".join(f"<li>{escape(note)}</li>" for note in (*self._missing(), *self.notes))
        return f"<table><caption>{escape(self._title())}</caption>{head}{rows}</table><ul>{notes}</ul>"

    def _title(self) -> str:
        runs = f"{_count(self.examples, 'example')} × {_count(self.samples, 'sample')}"
        budget = "" if self.budget is None or not self.budget.limits else f"; budget of each run: {self.budget}"
        return f"estimate of {self.program} on {self.model}: {runs}{budget}"

    def _rows(self) -> Iterable[tuple[str, str, str, str, str]]:
        for name, found in self.figures.items():
            label = f"{name.replace('_', ' ')}{', a run' if name == 'sequential_tokens' else ''}"
            if found is None:
                yield label, "–", "–", "–", ""
                continue
            note = ""
            if found.expected is not None:
                note = "95 %: {} to {}".format(*(shown(name, end) for end in found.expected))
            yield label, shown(name, found.low), shown(name, found.likely), shown(name, found.high), note

    def _missing(self) -> Iterable[str]:
        """Every reason once, with the figures it is the reason of."""
        whose: dict[str, list[str]] = {}
        for name, reason in self.reasons.items():
            whose.setdefault(reason, []).append(name.replace("_", " "))
        return [f"{', '.join(names)}: {reason}" for reason, names in whose.items()]


def shown(name: str, value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "–"
    if name == "dollars":
        return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.3g}"
    return f"{value:,.3g}" if name == "seconds" and value < 100 else f"{value:,.0f}"


def estimated(
    program: Program, examples: Sequence[Any], *, samples: int = 1, history: Iterable[Past] | None = None
) -> Estimate:
    """See `Program.estimate`."""
    inputs = _inputs(program, examples, samples)
    traced = trace(program)
    work = _Work(program, traced, None if history is None else list(_several(history)))
    each = [work.figures(given) for given in inputs]
    return Estimate(
        program=traced.name,
        model=str(getattr(traced.lm, "model", None) or "no model"),
        examples=len(inputs),
        samples=samples,
        budget=traced.budget,
        **{name: _together(name, [getattr(one, name) for one in each], samples) for name in NAMES},
        reasons=work.reasons,
        notes=tuple(work.notes()),
        each=tuple(each),
    )


class _Work:
    """What all examples share."""

    def __init__(self, program: Program, traced: Traced, history: list[Past] | None) -> None:
        self.traced = traced
        self.plan = lower(traced.plan)
        self.reasons: dict[str, str] = {}
        self.unpriced = False
        """Whether nobody knows what some call costs."""
        self._open: set[str] = set()
        """Sites that read what is generated and whose prompts nothing bounds but the window."""
        sites = {node.op.site.name: node.op.site for node in self.plan.walk() if isinstance(node.op, Generate)}
        self.backends = {name: backend_behind(traced.bindings[name].lm) for name in sites}
        home = backend_behind(traced.lm)
        self._templates: dict[str, int] = {}
        self.prices = {name: self._price(traced.bindings[name].lm) for name in sites}
        engines = {id(backend): self.prices[name] for name, backend in self.backends.items()}
        self.hourly = sum(price.hour for price in engines.values()) if sites else self._price(traced.lm).hour
        self.measured = Measured() if history is None else measured(history, program, self.plan)
        self.reader = Reader(self._ask, widest([*self.backends.values()] or [home]))
        self.opaque = [n.name for n in self.plan.walk() if isinstance(n.op, Call) and n.op.cap]

    def figures(self, inputs: Mapping[str, Any]) -> Figures:
        """Of one run."""
        extent = self.reader.plan(self.plan, [inputs.get(name) for name in self.traced.inputs])
        if self.traced.budget is not None:
            extent = limited(extent, self.traced.budget)
        likely = self._likely(extent)
        found: dict[str, Interval] = {}
        for name, taken in zip(FIGURES, ("calls", "input", "output", "total", "sequential"), strict=True):
            low, high = getattr(extent.least, taken), getattr(extent.most, taken)
            found[name] = self._interval(name, low, likely.get(name), high)
        seconds = self._seconds(found["output_tokens"])
        return Figures(**found, seconds=seconds, dollars=self._dollars(extent, likely, seconds))

    def _interval(self, name: str, low: float, likely: float | None, high: float) -> Interval:
        if low == high:
            likely = low  # nothing is left to measure
        if likely is None:
            self.reasons.setdefault(name, OTHER_PLAN if self.measured.runs else UNMEASURED)
        if math.isinf(high):
            self.reasons[name] = self._unbounded()
        elif likely is not None:  # a budget may now leave less than was measured
            likely = min(likely, high)
        return Interval(low=_whole(low), likely=likely, high=None if math.isinf(high) else _whole(high))

    def _unbounded(self) -> str:
        if not self._open:
            return "no high end: neither the model's window nor a cap (max_tokens=) bounds a call"
        readers = ", ".join(sorted(self._open))
        return f"no high end: the model's window is unknown, and what is generated is read by {readers}"

    def _ask(self, op: Generate, values: Sequence[Any]) -> Prompted:
        site, backend, price = op.site, self.backends[op.site.name], self.prices[op.site.name]
        window = None if backend is None else backend.window
        cap = site.sampling.max_tokens
        if cap is None and backend is not None:
            cap = backend.default_max_tokens
        prompt = None
        read = op.reads(values)
        if all(map(known, read.values())):
            inputs = {name: flowing(value) for name, value in read.items()}
            tokenizer = None if backend is None else backend.tokenizer
            fitting = Fitting(template(site), inputs, tokenizer, window, site.sampling.max_tokens)
            prompt = prompt_tokens(fitting.render()[0])
        elif window is None:
            self._open.add(site.name)
        return Prompted(
            prompt=prompt,
            template=self._template(site),
            cap=cap,
            window=window,
            input_price=price.input_token,
            output_price=price.output_token,
        )

    def _template(self, site: Site) -> int:
        """Tokens of a site's prompt at least: what could not be read is None, and some layouts then leave it out."""
        if site.name not in self._templates:
            backend = self.backends[site.name]
            tokenizer = None if backend is None else backend.tokenizer
            bare = (
                [dict.fromkeys(site.signature.input_fields, nothing) for nothing in (None, "")] if site.begins else []
            )
            sizes = [Fitting(template(site), inputs, tokenizer, None, None).whole_tokens for inputs in bare]
            self._templates[site.name] = min(sizes, default=0)
        return self._templates[site.name]

    def _likely(self, extent: Extent) -> dict[str, float]:
        """By name, what is measured: step by step where runs' records say it, else as whole runs were."""
        past = self.measured
        found = {name: mean for name in FIGURES if (mean := past.mean(name)) is not None}
        if any(past.step(asked) is None for asked in extent.asked):
            return found
        if not extent.asked:
            return found
        sums = dict.fromkeys(("calls", "input_tokens", "output_tokens", "dollars"), 0.0)
        for asked in extent.asked:
            self._add(sums, asked)
        sums["total_tokens"] = sums["input_tokens"] + sums["output_tokens"]
        return {**found, **sums}

    def _add(self, sums: dict[str, float], asked: Asked) -> None:
        step = self.measured.step(asked)
        assert step is not None, "asked only of steps that were measured"
        if not step.calls:
            return  # it was possible, and never came to it
        calls = asked.calls * step.share
        read = calls * (step.input / step.calls if asked.prompt is None else asked.prompt)
        written = calls * step.output / step.calls
        sums["calls"] += calls
        sums["input_tokens"] += read
        sums["output_tokens"] += written
        sums["dollars"] += read * asked.input_price + written * asked.output_price

    def _seconds(self, outputs: Interval) -> Interval | None:
        rate = self.measured.tokens_per_s
        if rate is None:
            no_time = "the history's runs took no time, or wrote nothing" if self.measured.runs else UNMEASURED
            self.reasons["seconds"] = f"no speed is known: {no_time}" if self.measured.runs else no_time
            return None
        return outputs.times(1 / rate)

    def _dollars(self, extent: Extent, likely: Mapping[str, float], seconds: Interval | None) -> Interval | None:
        if self.hourly:
            if seconds is None:
                self.reasons["dollars"] = f"by the hour, and seconds are not known: {self.reasons['seconds']}"
                return None
            return seconds.times(self.hourly / 3600)
        if self.unpriced:
            return None
        cost = likely.get("dollars")
        if cost is None and "input_tokens" in likely and len(set(self.prices.values())) == 1:
            price = next(iter(self.prices.values()))
            cost = likely["input_tokens"] * price.input_token + likely["output_tokens"] * price.output_token
        return self._interval("dollars", extent.least.dollars, cost, extent.most.dollars)

    def _price(self, lm: dspy.BaseLM | None) -> Price:
        try:
            return price_behind(lm)
        except InputError as error:  # it is told, and the figure is left out
            self.reasons["dollars"] = f"{error.what}; {error.fix}"
            self.unpriced = True
            return Price()

    def notes(self) -> Iterable[str]:
        """What the figures rest on."""
        past = self.measured
        if past.runs:
            yield f"likely: as in {_count(past.runs, 'earlier run')}"
        if past.tokens_per_s is not None:
            how = "side by side as they ran" if past.calls else "one run after the other"
            yield f"seconds: at the pace of these, {past.tokens_per_s:,.0f} output tokens a second, {how}"
        if any(backend is None or backend.tokenizer is None for backend in self.backends.values()):
            yield "no tokenizer: prompt sizes are guessed at four characters a token, and the high end is no promise"
        if any(price.input_token or price.output_token for price in self.prices.values()):
            yield "dollars: cached prompt tokens are counted at the full price, so the bill may be lower"
        if self.traced.budget is not None and self.traced.budget.limits:
            yield "a run that its budget can bind may be cut at any point: then its low end is 0"
        if self.opaque:
            yield f"{', '.join(self.opaque)}: model calls inside functions count at most, with the whole window each"


def _together(name: str, each: Sequence[Interval | None], samples: int) -> Interval | None:
    """Of all runs: sums, but for what is along the path of one run."""
    found = [interval for interval in each if interval is not None]
    if len(found) < len(each):
        return None
    likely, high = [i.likely for i in found], [i.high for i in found]
    if name == "sequential_tokens":
        mean = None if None in likely else sum(_given(likely)) / len(found)
        return Interval(low=min(i.low for i in found), likely=mean, high=None if None in high else max(_given(high)))
    return Interval(
        low=sum(i.low for i in found) * samples,
        likely=None if None in likely else sum(_given(likely)) * samples,
        high=None if None in high else sum(_given(high)) * samples,
    )


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _given(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _inputs(program: Program, examples: Sequence[Any], samples: int) -> list[dict[str, Any]]:
    """The inputs of every example. Raises InputError naming the example that lacks one."""
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise InputError(f"samples={samples!r}: nothing would run", fix="draw at least one sample per example")
    if isinstance(examples, (str, Mapping, dspy.Example)):
        raise InputError("examples is one value", fix="give a list of examples, or of dicts with the inputs")
    found = [_input(program, number, example) for number, example in enumerate(examples)]
    if not found:
        raise InputError("there are no examples to estimate for", fix="give at least one")
    return found


def _input(program: Program, number: int, example: Any) -> dict[str, Any]:
    try:
        if isinstance(example, dspy.Example):
            given = example.inputs().toDict()
        elif isinstance(example, Mapping):
            given = dict(example)
        else:
            raise InputError(f"it is a {type(example).__name__}", fix="give a dspy.Example, or a dict with the inputs")
        return program._bind((), given)
    except InputError as error:
        raise InputError(f"example {number}: {error.what}", why=error.why, fix=error.fix) from error
    except ValueError as error:
        raise InputError(
            f"example {number} does not say what its inputs are",
            why=str(error),
            fix='name them: dspy.Example(problem="2 + 3", answer="5").with_inputs("problem")',
        ) from error


def _several(history: Any) -> Iterable[Past]:
    return history if isinstance(history, (list, tuple)) else [history]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
