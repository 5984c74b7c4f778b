"""Artifacts: a program as one JSON file, and back.

An artifact is DSPy's own state file with a `reasonflow` entry beside it, which says how the program is made again. It
holds no language model, and loading one imports no class that the caller did not allow.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import dspy
import pydantic

from reasonflow.errors import ArtifactWarning, InputError, ProgramError, ReasonFlowError
from reasonflow.language.allowed_classes import Allowed, AllowedClasses
from reasonflow.language.call_sites import Generate
from reasonflow.language.choices import Choice, resolve
from reasonflow.language.parts import modules_of, of_kind, parts_of
from reasonflow.language.program import Program, predictors_of, trace
from reasonflow.language.site_defaults import check_layout, check_temperature
from reasonflow.language.typed_json import Json, Restorer, describe, describe_signature, path_of
from reasonflow.plan.budget import Budget
from reasonflow.plan.serialise import digest
from reasonflow.runtime.runtime import Runtime

FORMAT = 1
"""Counts up when older versions could no longer load what is written."""
ENTRY = "reasonflow"
_OPTIONS = ("style", "solution_tokens", "retries", "floor_tokens", "weight")
_OF_THE_MODEL = ("engine", "model", "model_hash", "dtype")
"""What of an engine's fingerprint answers depend on."""
_STATE_KEYS = frozenset({"demos", "fields", "lm", "signature", "traces", "train"})
"""DSPy sets whatever else stands in a predictor's state as an attribute."""


class _Site(pydantic.BaseModel):
    """One call site as it stood, whatever its program's constructor makes of it."""

    signature: dict[str, Any]
    config: Any = None
    options: dict[str, Any] = {}


class _Entry(pydantic.BaseModel):
    format: int
    program: str = pydantic.Field(alias="class")
    arguments: dict[str, Any]
    sites: dict[str, _Site]
    choices: dict[str, Any] = {}
    budgets: dict[str, dict[str, Any]] = {}
    layouts: dict[str, Any] = {}
    """Of programs and call sites, by name, where they are not "auto"."""
    temperatures: dict[str, Any] = {}
    """Of programs, by name, where they are not the model's own."""
    roles: dict[str, dict[str, Any]] = {}
    """Names of language models by call sites, of programs, by name."""
    compiled: tuple[str, ...] = ()
    """Modules that DSPy leaves alone, because an optimizer is done with them."""
    frozen: dict[str, dict[str, Any]] = {}
    """State of compiled modules inside the program, which DSPy's own state leaves out."""
    own_models: dict[str, str] = {}
    """Call sites that had a language model of their own, and its name."""
    model: dict[str, str] | None = None
    plan: str
    versions: dict[str, str]
    report: dict[str, Any] | None = None
    """Of the compile that made it."""


# Saving --------------------------------------------------------------------------------------------------------------


def save(program: Program, path: str | Path) -> None:
    """Write the artifact. The file is there whole or not at all. Raises InputError for what has no JSON form."""
    path = _json_path(path, "save")
    for name, _ in program.named_parameters():
        if name.partition(".")[0].partition("[")[0] in (ENTRY, "metadata"):
            raise ProgramError(f"{name} cannot be saved: artifacts use that name", fix="rename the attribute")
    entry = _describe(program)
    bare = _without_models(program)
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.json")
    try:
        try:
            dspy.Module.save(bare, temporary)
            whole = json.loads(temporary.read_text(encoding="utf-8"))
            whole[ENTRY] = entry
            temporary.write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{type(program).__name__} cannot be saved",
                why=str(error).splitlines()[0],
                fix="demos, choices and settings must be plain values",
            ) from error
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _describe(program: Program) -> dict[str, Json]:
    kind = type(program).__name__
    made = program._constructed_with
    if made is None:
        raise ProgramError(
            f"how this {kind} was made is not known",
            why="it was not made by calling its class",
            fix=f"call {kind}(...)",
        )
    how = made.described()
    parts = dict(parts_of(program))
    sites, modules = of_kind(parts, dspy.Predict), modules_of(program)
    own = {name: site.lm for name, site in sites.items() if site.lm is not None}
    bare = _without_models(program)
    return {
        "format": FORMAT,
        **how,
        "sites": {name: _describe_site(name, site) for name, site in sites.items()},
        "choices": {n: describe(choice.value, f"choice {n!r}") for n, choice in of_kind(parts, Choice).items()},
        "budgets": {name: module.budget.limits for name, module in modules.items() if getattr(module, "budget", None)},
        "layouts": {name: describe(value, f"layout of {name!r}") for name, value in _layouts(program).items()},
        **_knobs_of(program),
        "compiled": [name for name, module in modules.items() if module._compiled],
        "frozen": {n: module.dump_state() for n, module in modules_of(bare).items() if n and module._compiled},
        "own_models": {name: lm.model for name, lm in own.items()},
        "model": _fingerprint(next(iter(own.values()), dspy.settings.lm)),
        "plan": _plan_digest(bare),
        "versions": _versions(),
        **({} if program.compile_report is None else {"report": dict(program.compile_report)}),
    }


def layouts_of(program: dspy.Module) -> dict[str, str]:
    """The layouts in it that are not "auto", by the names of programs (its own is empty) and call sites."""
    return {name: layout for name, value in _layouts(program).items() if (layout := resolve(value)) != "auto"}


def temperatures_of(program: dspy.Module) -> dict[str, float]:
    """The temperatures that programs in it are set to, by their names."""
    found = {name: resolve(each.temperature) for name, each in _programs(program).items()}
    return {name: temperature for name, temperature in found.items() if temperature is not None}


def _layouts(program: dspy.Module) -> dict[str, Any]:
    """As `layouts_of`, with those that are to choose."""
    found = {name: part.layout for name, part in _laid_out(program).items()}
    return {name: layout for name, layout in found.items() if isinstance(layout, Choice) or layout != "auto"}


def _knobs_of(program: Program) -> dict[str, Json]:
    """Temperatures and roles of programs, where they have some."""
    programs = _programs(program)
    temperatures = {
        name: describe(each.temperature, f"temperature of {name!r}")
        for name, each in programs.items()
        if each.temperature is not None
    }
    roles = {name: describe(dict(each.roles), f"roles of {name!r}") for name, each in programs.items() if each.roles}
    return {
        **({"temperatures": temperatures} if temperatures else {}),
        **({"roles": roles} if roles else {}),
    }


def _programs(program: dspy.Module) -> dict[str, Program]:
    return {name: module for name, module in modules_of(program).items() if isinstance(module, Program)}


def _laid_out(program: dspy.Module) -> dict[str, Program | Generate]:
    """All in it that has a layout."""
    parts = {**modules_of(program), **dict(predictors_of(program))}
    return {name: part for name, part in parts.items() if isinstance(part, (Program, Generate))}


def _describe_site(name: str, site: dspy.Predict) -> dict[str, Json]:
    where = f"call site {name!r}"
    return {
        "signature": describe_signature(site.signature, where, opaque=True),
        "config": describe(site.config, where, opaque=True),
        "options": {option: getattr(site, option) for option in _OPTIONS} if isinstance(site, Generate) else {},
    }


def _without_models(program: Program) -> Program:
    bare: Program = program.deepcopy()
    for _, site in predictors_of(bare):
        site.lm = None
    return bare


def _plan_digest(program: Program) -> str:
    """Of the plan as declared: what a context adds is no part of it."""
    if any(each.roles for each in _programs(program).values()):
        program = program.deepcopy()
        for each in _programs(program).values():
            each.roles = {}
    with dspy.context(lm=None, adapter=None, trace=None):
        return digest(trace(program).plan)


def _fingerprint(lm: dspy.BaseLM | None) -> dict[str, str] | None:
    if lm is None:
        return None
    runtime = getattr(getattr(lm, "engine", None), "runtime", None)
    whole = runtime.identity if isinstance(runtime, Runtime) else {"model": lm.model}
    return {name: whole[name] for name in _OF_THE_MODEL if name in whole}


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("reasonflow", "dspy")}


# Loading -------------------------------------------------------------------------------------------------------------


def load(path: str | Path, allow: Iterable[Allowed] = (), *, lms: Iterable[dspy.BaseLM] = ()) -> Program:
    """The program of an artifact, made again with what was learnt.

    allow: what the file may name, beside ReasonFlow's own programs: classes, functions such as its tools, or
        "module:Name", whose module is imported if the file asks for it. Nothing else is imported, and nothing is
        unpickled.
    lms: the language models that it was made with, as `small=` of a planner: they are found by their names.
    All other call sites have the context's, as always. Warns of what differs from where it was saved (ArtifactWarning).
    Raises InputError for a file that is no artifact, is newer or damaged, names a class that is not allowed, or does
    not fit its class any more.
    """
    path = _json_path(path, "load")
    whole = _read(path)
    entry = _entry(whole, path)
    state = {name: value for name, value in whole.items() if name != ENTRY}
    program = _Maker(entry, state, AllowedClasses(allow), path.name, lms).program()
    _warn_of_differences(program, entry, path)
    return program


def _json_path(path: str | Path, verb: str) -> Path:
    path = Path(path)
    if path.suffix != ".json":
        why = "other files would have to be unpickled, which runs what is in them" if path.suffix == ".pkl" else ""
        raise InputError(f"cannot {verb} {path.name}: artifacts are .json files", why=why, fix=f"{path.stem}.json")
    return path


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no artifact at {path}", fix="write one with program.save(path)")
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        begun = not text or (text.startswith("{") and (not text.endswith("}") or error.pos >= len(text)))
        raise InputError(
            f"{path.name} is cut off" if begun else f"{path.name} is not JSON",
            why=str(error),
            fix="copy it again from where it was saved" if begun else "give the file that program.save(path) wrote",
        ) from error
    if not isinstance(whole, dict) or not isinstance(whole.get(ENTRY), dict):
        is_state = isinstance(whole, dict) and "metadata" in whole
        raise InputError(
            f"{path.name} is no ReasonFlow artifact",
            why="it is the state of a DSPy program, which does not say how to make it" if is_state else "",
            fix="make the program and call program.load(path)" if is_state else "write one with program.save(path)",
        )
    return whole


def _entry(whole: dict[str, Any], path: Path) -> _Entry:
    raw = whole[ENTRY]
    found = raw.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise InputError(
            f"{path.name} has format {found}; this ReasonFlow reads up to {FORMAT}",
            why=f"it was saved by ReasonFlow {(raw.get('versions') or {}).get('reasonflow', '(unknown)')}",
            fix="install a newer ReasonFlow",
        )
    try:
        return _Entry.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{path.name} is damaged",
            why=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            fix="save the program again",
        ) from error


class _Maker:
    """Makes the program of one artifact."""

    def __init__(
        self,
        entry: _Entry,
        state: Mapping[str, Any],
        classes: AllowedClasses,
        name: str,
        lms: Iterable[dspy.BaseLM] = (),
    ) -> None:
        self.entry, self.state, self.classes, self.name = entry, state, classes, name
        self.lms = {lm.model: lm for lm in lms}
        self.restore = Restorer(classes.find, classes.function, self._lm, self._make)

    def program(self) -> Program:
        """The program with its sites, compiled parts, state, choices and budgets as they were."""
        entry = self.entry
        program = self._make({"class": entry.program, "arguments": entry.arguments}, self.name)
        self._restore_sites(program)
        modules = modules_of(program)
        for name in entry.compiled:
            self._part(modules, name)._compiled = True
        for name, state in entry.frozen.items():
            self._load(self._part(modules, name), state)
        self._load(program, self.state)
        self._restore_knobs(program)
        choices = of_kind(dict(parts_of(program)), Choice)
        for name, value in entry.choices.items():
            self._part(choices, name).load_state({"value": self.restore.value(value, f"choice {name!r}")})
        for name, module in modules.items():
            limits = entry.budgets.get(name)
            budget = None if limits is None else Budget(**limits)
            if isinstance(module, Program) and module.budget != budget:
                module.budget = budget
        if entry.report is not None:
            program.compile_report = entry.report
        return program

    def _lm(self, name: str) -> dspy.BaseLM:
        if name not in self.lms:
            raise InputError(
                f"{self.name} was made with the language model {name}, which is not given",
                why="an artifact stores none, but their names",
                fix=f"rf.load(path, lms=[...]) with one of that name; given: {', '.join(self.lms) or 'none'}",
            )
        return self.lms[name]

    def _restore_knobs(self, program: Program) -> None:
        """Layouts, temperatures and roles that differ from what the constructors made."""
        for name, part in _laid_out(program).items():
            where = f"{name or 'the program'} in {self.name}"
            layout = self.restore.value(self.entry.layouts.get(name, "auto"), where)
            check_layout(layout, where)
            if isinstance(layout, Choice) or isinstance(part.layout, Choice) or part.layout != layout:
                part.layout = layout
        for name, each in _programs(program).items():
            where = f"{name or 'the program'} in {self.name}"
            temperature = self.restore.value(self.entry.temperatures.get(name), where)
            check_temperature(temperature, where)
            roles = self.restore.value(self.entry.roles.get(name, {}), where)
            if temperature is not None or each.temperature is not None:
                each.temperature = temperature
            if roles or each.roles:
                each.roles = roles

    def _make(self, described: Mapping[str, Json], where: str) -> Program:
        cls = self.classes.find(str(described.get("class")))
        if not issubclass(cls, Program):
            raise InputError(f"{path_of(cls)} in {self.name} is no rf.Program", fix="save the program again")
        arguments = described.get("arguments") or {}
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        known = {parameter.name for parameter in parameters}
        needed = [
            p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        for name in (*arguments, *needed):
            if name not in known or name not in arguments:
                raise self._changed(
                    f"the constructor of {cls.__name__} has no argument {name!r} any more"
                    if name not in known
                    else f"the constructor of {cls.__name__} now needs an argument {name!r}"
                )
        bound = inspect.Signature(parameters).bind_partial()
        values = {
            name: self.restore.value(arguments[name], f"argument {name!r} of {cls.__name__}") for name in arguments
        }
        bound.arguments.update({name: values[name] for name in (p.name for p in parameters) if name in values})
        try:
            made: Program = cls(*bound.args, **bound.kwargs)
        except (ReasonFlowError, TypeError, ValueError) as error:
            raise self._changed(f"{cls.__name__} refuses the arguments it was made with", why=str(error)) from error
        return made

    def _restore_sites(self, program: Program) -> None:
        sites = of_kind(dict(parts_of(program)), dspy.Predict)
        for name in (*self.entry.sites, *sites):
            if name not in sites or name not in self.entry.sites:
                raise self._changed(
                    f"{type(program).__name__} has {'no' if name not in sites else 'a new'} call site {name!r}"
                )
        for name, site in sites.items():
            self._restore_site(f"call site {name!r}", site, self.entry.sites[name])

    def _restore_site(self, where: str, site: dspy.Predict, saved: _Site) -> None:
        """Set what differs from what the constructor made. Texts of the signature are DSPy's state."""
        now = _describe_site(where, site)
        if _shape(now["signature"], where) != _shape(saved.signature, where):
            site.signature = self.restore.signature(saved.signature, where)
        if now["config"] != saved.config:
            site.config = self.restore.value(saved.config, where)
        options = {name: value for name, value in saved.options.items() if name in _OPTIONS}
        if isinstance(site, Generate) and (now["options"] | options != now["options"] or now["config"] != saved.config):
            checked = Generate(site.signature, config=site.config, **options)
            for name in options:
                setattr(site, name, getattr(checked, name))

    def _load(self, module: dspy.Module, state: Mapping[str, Any]) -> None:
        known: dict[str, Any] = {}
        for name, parameter in module.named_parameters():
            if isinstance(parameter, dspy.Predict):
                if not isinstance(state.get(name), dict):
                    raise InputError(
                        f"{self.name} has no state of the call site {name!r}", fix="save the program again"
                    )
                known[name] = {key: value for key, value in state[name].items() if key in _STATE_KEYS} | {"lm": None}
            elif name in state:
                known[name] = state[name]
        own = {name: site.lm for name, site in predictors_of(module)}
        try:
            module.load_state(known)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.name} is damaged", why=f"a call site's state: {error!r}", fix="save the program again"
            ) from error
        for name, site in predictors_of(module):  # DSPy's state would take away those it was made with
            site.lm = own[name]

    def _part(self, parts: Mapping[str, Any], name: str) -> Any:
        if name not in parts:
            raise self._changed(f"the program has no {name!r}")
        return parts[name]

    def _changed(self, what: str, why: str = "") -> InputError:
        saved = self.entry.versions.get("reasonflow", "(unknown)")
        return InputError(
            what,
            why=why or f"its code has changed since {self.name} was saved",
            fix=f"load it with the code of then (ReasonFlow {saved}), or make the program anew",
        )


def _shape(signature: Mapping[str, Json], where: str) -> list[Any]:
    """What a signature takes and gives, without its texts, in DSPy's order: inputs first."""
    try:
        fields = [{key: field[key] for key in field if key != "extra"} for field in signature["fields"]]
        return sorted(fields, key=lambda field: field["kind"] != "input")
    except (KeyError, TypeError) as error:
        raise InputError(
            f"the signature of {where} is damaged", why=repr(error), fix="save the program again"
        ) from error


def _warn_of_differences(program: Program, entry: _Entry, path: Path) -> None:
    now = _versions()
    differences = [
        f"{name} {then}, now {now.get(name, 'not installed')}"
        for name, then in entry.versions.items()
        if now.get(name) != then
    ]
    own = [site.lm for site in of_kind(dict(parts_of(program)), dspy.Predict).values() if site.lm is not None]
    model = _fingerprint(next(iter(own), dspy.settings.lm))
    if model is not None and entry.model is not None:
        differences += [
            f"{name} {entry.model.get(name, '(unknown)')}, now {model.get(name, '(unknown)')}"
            for name in _OF_THE_MODEL
            if entry.model.get(name) != model.get(name)
        ]
    if _plan_digest(_without_models(program)) != entry.plan:
        differences.append("its plan is not the one it was saved with")
    given = {name for name, site in predictors_of(program) if site.lm is not None}
    missing = {name: lm for name, lm in entry.own_models.items() if name not in given}
    if missing:
        sites = ", ".join(f"{name} ({lm})" for name, lm in missing.items())
        differences.append(f"language models of call sites, which are not stored: {sites}")
    if differences:
        warnings.warn(
            f"{type(program).__name__} from {path.name} differs from what was saved: {'; '.join(differences)}",
            ArtifactWarning,
            stacklevel=3,
        )
