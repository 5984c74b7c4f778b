"""All matrices of a shape at once make the step that torch makes one by one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from reasonflow.optimizers.training.muon import StackedMuon  # noqa: E402


def test_steps_are_those_of_torchs_own() -> None:
    torch.manual_seed(0)
    shapes = [(16, 16), (32, 16), (16, 32), (16, 16)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(param.detach().clone()) for param in ours]
    stacked = StackedMuon(ours, lr=0.05, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for left, right in zip(ours, theirs, strict=True):
            left.grad = torch.randn_like(left)
            right.grad = left.grad.clone()
        stacked.step()
        reference.step()
    for left, right in zip(ours, theirs, strict=True):
        # bfloat16 rounds to one part in 256 in each of the iterations.
        torch.testing.assert_close(left, right, rtol=0.02, atol=0.02)
    assert not torch.equal(ours[0], torch.zeros_like(ours[0]))


def test_what_has_no_gradient_stays() -> None:
    still, moved = (torch.nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    optimizer = StackedMuon([still, moved], lr=0.1)
    moved.grad = torch.eye(4)
    optimizer.step()
    assert torch.equal(still, torch.ones(4, 4))
    assert not torch.equal(moved, torch.ones(4, 4))


def test_state_survives_saving() -> None:
    param = torch.nn.Parameter(torch.ones(4, 4))
    optimizer = StackedMuon([param], lr=0.1)
    param.grad = torch.eye(4)
    optimizer.step()
    other = torch.nn.Parameter(param.detach().clone())
    again = StackedMuon([other], lr=0.1)
    again.load_state_dict(optimizer.state_dict())
    param.grad, other.grad = torch.eye(4), torch.eye(4)
    optimizer.step()
    again.step()
    assert torch.equal(param, other)
