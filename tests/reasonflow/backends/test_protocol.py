from dataclasses import fields, replace

from reasonflow.backends.protocol import Sampling


def test_another_seed_changes_nothing_else() -> None:
    every = Sampling(**{field.name: number for number, field in enumerate(fields(Sampling), 1)})  # type: ignore[arg-type]
    assert every.with_seed(99) == replace(every, seed=99)
    assert Sampling().with_seed(7) == Sampling(seed=7)
