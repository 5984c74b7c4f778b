"""The model with its optimizer: one update from a batch of rows, and all that a checkpoint holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from reasonflow.optimizers.trie_sft.loss import summed_loss
from reasonflow.optimizers.trie_sft.rows import Row
from reasonflow.optimizers.trie_sft.settings import Settings


class Learner:
    """A causal language model in training, whole or by adapters.

    model: as `open_model` gives it, or wrapped by peft. dtype: of the arithmetic, "bfloat16" or "float32".
    """

    def __init__(self, model: Any, settings: Settings, *, device: str, dtype: str, recompute: bool) -> None:
        self.model, self.settings, self.device = model.train(), settings, device
        self.core = model.get_base_model() if settings.lora_rank else model
        """The causal LM itself, with the adapters inside where there are some."""
        self._autocast = torch.bfloat16 if dtype == "bfloat16" else None
        if recompute:
            self.core.gradient_checkpointing_enable({"use_reentrant": False})
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        # Norms and biases are not drawn towards zero.
        matrices = [weight for weight in self._trained.values() if weight.ndim >= 2]
        others = [weight for weight in self._trained.values() if weight.ndim < 2]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
            settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=device == "cuda",
        )

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(weight.numel() for weight in self._trained.values())

    def step(self, rows: Sequence[Row], scale: float) -> float:
        """One update by all rows together; gives the mean loss of their learned tokens before it.

        scale: of the learning rate. A row is read at a time, and gradients add up.
        """
        learned = sum(len(row.labels) for row in rows)
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for row in rows:
            with torch.autocast(self.device, dtype=self._autocast, enabled=self._autocast is not None):
                loss = summed_loss(self.core, row.to(self.device)) / learned
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(list(self._trained.values()), self.settings.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.lr * scale
        self._optimizer.step()
        return float(total)

    def state(self) -> dict[str, Any]:
        """The trained weights and the optimizer's state."""
        weights = {name: weight.detach() for name, weight in self._trained.items()}
        return {"weights": weights, "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
