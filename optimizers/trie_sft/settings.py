"""What decides how a model is trained. Resuming with other settings is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from reasonflow.errors import InputError, UnknownName
from reasonflow.programs.trajectories import MULTIVERSE, THREADWEAVER

DIALECTS = {dialect.name: dialect for dialect in (THREADWEAVER, MULTIVERSE)}
DTYPES = ("bfloat16", "float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """ThreadWeaver's own where it names them (arXiv 2512.07843, the appendix on training)."""

    epochs: int = 1
    """Times that all data is read. The paper: 8 over 959 rewritten trajectories, 1 over 17,491 of the model's own."""
    lr: float = 1e-5
    batch: int = 16
    """Trajectories to an update."""
    row_tokens: int = 40_960
    """Tokens that the model reads at once, of one trajectory or of several; longer trajectories are left out."""
    lora_rank: int = 0
    """0 trains all weights."""
    dialect: str = "threadweaver"
    dtype: str = ""
    """Of the arithmetic: weights that are trained are float32. Empty: bfloat16 on a GPU, float32 on a processor."""
    recompute: bool | None = None
    """Activations are computed twice instead of kept: slower, and the only way for long rows. None: on a GPU."""
    seed: int = 0
    """Of the order of the data, and of new adapters."""

    warmup: float = 0.05
    """Share of the steps in which the rate rises; then it falls to zero as a cosine does."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip: float = 1.0
    """Norm of the gradient at most."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("row_tokens", 2), ("lora_rank", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}", fix=f"give {least} or more")
        if not 0 < self.lr < math.inf:
            raise InputError(f"a learning rate of {self.lr}", fix="give a number above 0")
        if self.dialect not in DIALECTS:
            raise UnknownName.among("dialect", self.dialect, DIALECTS)
        if self.dtype and self.dtype not in DTYPES:
            raise UnknownName.among("dtype", self.dtype, DTYPES)

    def scale(self, step: int, steps: int) -> float:
        """Of the learning rate, for a step from 0 on of so many: a linear rise, then a half cosine to zero."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    def known(self) -> dict[str, object]:
        """By name, as a checkpoint keeps them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "betas": list(self.betas)}
