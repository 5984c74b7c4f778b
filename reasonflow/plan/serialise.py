"""A plan as JSON, and its content digest."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from hashlib import sha256
from typing import Any

from reasonflow.backends.protocol import Sampling
from reasonflow.plan.budget import Budget
from reasonflow.plan.nodes import Const, Node, Op, Plan, Quorum, Site
from reasonflow.prompts.layouts import Layout


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan in JSON's types: every node with its kind, settings, arguments and shape; bodies nested."""
    return {
        "inputs": list(plan.inputs),
        "output": plan.output,
        "nodes": [_node(node) for node in plan.nodes],
    }


def digest(plan: Plan) -> str:
    """SHA-256 over the plan's content: equal for equal plans, in every process. Functions count by their names."""
    return sha256(json.dumps(to_json(plan), sort_keys=True, default=str).encode()).hexdigest()


def _node(node: Node) -> dict[str, Any]:
    return {
        "kind": type(node.op).__name__.lower(),
        "name": node.name,
        "args": list(node.args),
        "shape": str(node.shape),
        **_settings(node.op),
    }


def _settings(op: Op) -> dict[str, Any]:
    if isinstance(op, Const):
        return {"value": _plain(op.value)}
    found = {field.name: _value(getattr(op, field.name)) for field in fields(op)}
    if not found.get("gated", True):
        del found["gated"]  # as in all plans of artifacts that are older than gated calls
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Plan):
        return to_json(value)
    if isinstance(value, Site):
        return _site(value)
    if isinstance(value, Budget):
        return value.limits
    if isinstance(value, Quorum):
        return _settings(value)
    if isinstance(value, tuple):
        return [_value(part) for part in value]
    if callable(value):
        return _function(value)
    return value


def _site(site: Site) -> dict[str, Any]:
    return {
        "name": site.name,
        "signature": site.signature.signature,
        "instructions": site.signature.instructions,
        "fields": {
            name: [str(info.annotation), (info.json_schema_extra or {}).get("desc", "")]
            for name, info in site.signature.fields.items()
        },
        "style": site.style,
        "demos": [_plain(dict(demo)) for demo in site.demos],
        "sampling": _sampling(site.sampling),
        "solution_tokens": site.solution_tokens,
        "retries": site.retries,
        "floor_tokens": site.floor_tokens,
        "weight": site.weight,
        "adapter": None if site.adapter is None else type(site.adapter).__name__,
        # Left out where nothing is special, as in all plans of artifacts that are older than layouts.
        **({} if site.layout == Layout() else {"layout": asdict(site.layout)}),
        **({} if site.watch is None else {"watch": site.watch.settings}),
        **({"continues": True, "unmarked": list(site.unmarked)} if site.continues else {}),
    }


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Without what plans of older artifacts do not know, where it is as if it were not there."""
    found = {field.name: getattr(sampling, field.name) for field in fields(Sampling)}
    if not sampling.keep_special:
        del found["keep_special"]
    return found


def _plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _function(fn: Callable[..., Any]) -> str:
    fn = inspect.unwrap(fn)
    module = getattr(fn, "__module__", "") or ""
    return f"{module}.{getattr(fn, '__qualname__', type(fn).__name__)}"
