"""The prompts of a program as a value: what DSPy's optimizers change, and what they do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import dspy

from reasonflow.language.program import Program, Traced


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the call sites of a program are told, by their names."""

    sites: Mapping[str, tuple[type[dspy.Signature], tuple[Any, ...]]]
    """(signature with its instructions, demos)."""

    @classmethod
    def of(cls, program: Program) -> Prompts:
        """Of all its call sites."""
        return cls({name: (site.signature, tuple(site.demos)) for name, site in program.named_predictors()})

    @classmethod
    def traced(cls, traced: Traced) -> Prompts:
        """Of the call sites a run uses."""
        return cls(
            {name: (bound.predictor.signature, tuple(bound.predictor.demos)) for name, bound in traced.bindings.items()}
        )

    @property
    def digest(self) -> str:
        """Equal for prompts that say the same."""
        found = {
            name: [signature.instructions, _fields(signature), [_demo(demo) for demo in demos]]
            for name, (signature, demos) in self.sites.items()
        }
        return blake2b(json.dumps(found, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()

    def to(self, program: Program) -> Program:
        """A copy of the program with these prompts; call sites that are not among them keep theirs."""
        copy: Program = program.deepcopy()
        for name, site in copy.named_predictors():
            if name in self.sites:
                signature, demos = self.sites[name]
                site.signature, site.demos = signature, list(demos)
        return copy

    def to_json(self) -> dict[str, Any]:
        """Instructions and demos in JSON's types."""
        return {
            name: {"instructions": signature.instructions, "demos": [_demo(demo) for demo in demos]}
            for name, (signature, demos) in self.sites.items()
        }

    def changed(self, before: Prompts) -> tuple[str, ...]:
        """What is new since then, in words: `draft: instructions, 2 demos`."""
        found = []
        for name, (signature, demos) in self.sites.items():
            was, had = before.sites.get(name, (signature, demos))  # a compiled part is nobody's to change
            words = ["instructions"] * (signature.instructions != was.instructions)
            if [_demo(demo) for demo in demos] != [_demo(demo) for demo in had]:
                words.append(f"{len(demos)} demo{'s' if len(demos) != 1 else ''}")
            found += [f"{name}: {', '.join(words)}"] * bool(words)
        return tuple(found)


def _fields(signature: type[dspy.Signature]) -> dict[str, Any]:
    return {name: (field.json_schema_extra or {}).get("desc") for name, field in signature.fields.items()}


def _demo(demo: Any) -> Any:
    found = demo.toDict() if hasattr(demo, "toDict") else dict(demo)
    return json.loads(json.dumps(found, default=str))
