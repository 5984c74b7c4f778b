"""The model with its optimizers: one training step, and everything that a checkpoint holds of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from reasonflow.optimizers.training.attention import block_mask, dense_mask
from reasonflow.optimizers.training.muon import StackedMuon
from reasonflow.optimizers.training.packing import IGNORED, Rows
from reasonflow.optimizers.training.replay import Replayed

CLIP = 1.0
"""Norm of the gradient at most."""
_WARM = 3
"""Steps before one is recorded: everything has its memory by then."""


class Learner:
    """A causal language model in training: float32 weights, on a GPU bfloat16 arithmetic and compiled layers.

    lr: of both optimizers: Muon for the matrices inside of the layers, AdamW for embeddings and norms.
    compiled: layers compiled and steps played back from a recording; a processor does neither. All rows must be of one
    size then.
    """

    def __init__(
        self, model: Any, *, lr: float, weight_decay: float = 0.01, device: str = "cpu", compiled: bool = True
    ) -> None:
        self.model, self.lr, self.device = model.to(device).train(), lr, device
        on_gpu = device == "cuda"
        self.compiled = compiled and on_gpu
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers." in name]
        inner = {id(param) for param in matrices}
        others = [param for param in model.parameters() if id(param) not in inner]
        self.optimizers: list[torch.optim.Optimizer] = [
            StackedMuon(matrices, self._rate(), weight_decay=weight_decay),
            torch.optim.AdamW(
                others, self._rate(), betas=(0.9, 0.95), weight_decay=0.0, fused=on_gpu, capturable=self.compiled
            ),
        ]
        self._stream = torch.cuda.Stream() if self.compiled else None
        self._steps = 0
        self._replayed: Replayed | None = None
        self._loss = torch.compile(_loss, dynamic=False) if self.compiled else _loss
        if self.compiled:
            for layer in model.model.layers:
                layer.compile(dynamic=False)

    def step(self, rows: Rows, scale: float) -> Tensor:
        """One update; the loss stays on the device. scale: of the learning rate."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            if self.compiled:
                group["lr"].fill_(self.lr * scale)
            else:
                group["lr"] = self.lr * scale
        self._steps += 1
        if self._replayed is not None:
            return self._replayed(rows)
        rows = Rows(*(part.to(self.device, non_blocking=True) for part in rows))
        if self._stream is None:
            return self._update(rows)
        if self._steps > _WARM:
            torch.cuda.synchronize()
            self._replayed = Replayed(self._update, rows)
            return self._replayed(rows)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self._update(rows)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _update(self, rows: Rows) -> Tensor:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.loss(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def _rate(self) -> Any:
        """The learning rate as the optimizers read it: a recorded step cannot read a number that changes."""
        return torch.tensor(self.lr, device=self.device) if self.compiled else self.lr

    def loss(self, rows: Rows) -> Tensor:
        """Mean cross-entropy over the learned tokens, by their weights; zero where there are none."""
        on_gpu = self.device == "cuda"
        flexible = self.model.config._attn_implementation == "flex_attention"
        mask = block_mask(rows.documents, compiled=self.compiled) if flexible else dense_mask(rows.documents)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=on_gpu):
            hidden = self.model.model(
                input_ids=rows.tokens, attention_mask=mask, position_ids=rows.positions.long(), use_cache=False
            ).last_hidden_state
            return self._loss(hidden, self.model.lm_head.weight, rows.labels, rows.weights)

    def state(self) -> dict[str, Any]:
        """Weights and both optimizers' state."""
        return {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _loss(hidden: Tensor, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    logits = functional.linear(hidden, embeddings).float()
    each = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten().long(), ignore_index=IGNORED, reduction="none"
    )
    # A document weighs 1 at least. Rows without one: a mean would be no number, and one such step ruins the weights.
    return (each * weights.flatten()).sum() / weights.sum().clamp(min=1)
