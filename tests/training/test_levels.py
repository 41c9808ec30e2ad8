"""Lower levels by hand: what a gate says of a teacher's labels, and of logged rows."""

import torch
from torch.testing import assert_close

from dfl.models import MLP, Scaling
from dfl.training.levels import distillation, weighted_rows
from dfl.training.networks import NetworkPlan, Networks
from tests.methods.toy import ARMS, training_set


def networks_of(members: int) -> Networks:
    one = training_set(0)
    plan = NetworkPlan.of([one], members, [[0.0]])
    return Networks([one], [Scaling.fit(*one.parts)], plan, MLP((4,)), "")


def test_each_outcome_of_a_row_counts_as_much_as_the_gate_says_of_the_treatment_received() -> None:
    lower, generator = weighted_rows(networks_of(1), "obs"), torch.Generator().manual_seed(0)
    people = torch.arange(9)
    batch = lower.pool.take(people[None])
    f, gate = torch.rand(2, 1, 9, 2, ARMS, generator=generator, dtype=torch.float64)
    own = people, slice(None), batch.treatment[0]
    each = gate[0][own] * (batch.outcome[0] - f[0][own]).square()
    assert_close(lower.loss(f, batch, gate), each.sum(dim=1).mean()[None])


def test_labels_are_the_mean_of_the_teachers_and_the_gate_is_the_trust_in_them() -> None:
    networks, generator = networks_of(2), torch.Generator().manual_seed(0)
    teachers, people = networks.initial(networks.stacked, "teacher"), torch.arange(9)
    lower = distillation(networks, "both", teachers, "flowing")
    batch = lower.pool.take(people.expand(2, -1))
    f, gate = torch.rand(2, 2, 9, 2, ARMS, generator=generator, dtype=torch.float64)
    label = networks.stacked(teachers, batch.features).mean(dim=0)
    pseudo = gate * label + (1 - gate) * f
    received = torch.nn.functional.one_hot(batch.treatment, ARMS)[:, :, None] == 1
    target = torch.where(received, batch.outcome[..., None], pseudo)
    assert_close(lower.loss(f, batch, gate), (target - f).square().sum(dim=(2, 3)).mean(dim=1))
