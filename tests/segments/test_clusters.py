"""Clusters: found, assigned, merged."""

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.segments import Clusters


def blobs(rows: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (rows,), generator=generator)
    centre = torch.tensor([[0.0, 0], [5, 0], [0, 5], [5.5, 5.5]])
    return centre[label] + 0.3 * torch.randn(rows, 2, generator=generator), label


@pytest.mark.parametrize("rows", [400, 60_000])
def test_groups_that_lie_apart_are_found(rows: int) -> None:
    points, label = blobs(rows)
    found = Clusters.fit(points, 4, seed=1)
    own = found.assign(points)
    assert found.groups == 4
    assert len(torch.stack([own, label]).unique(dim=1).T) == 4
    again = Clusters.fit(points, 4, seed=1)
    assert again.assign(points).equal(own)
    nearest = torch.cdist(points, found.centres).argmin(dim=1)
    assert own.equal(nearest)


def test_there_are_no_more_clusters_than_people_or_points() -> None:
    assert Clusters.fit(torch.tensor([[1.0], [2.0]]), 5, seed=0).groups == 2
    assert Clusters.fit(torch.ones(50, 3), 5, seed=0).groups == 1
    assert Clusters.fit(torch.ones(50, 3), 1, seed=0).assign(torch.ones(0, 3)).shape == (0,)


def test_small_groups_join_the_nearest() -> None:
    points, label = blobs()
    clusters = Clusters.fit(points, 4, seed=1)
    treatment = torch.arange(400) % 2
    treatment[label == 3] = 0  # nobody there got the other one
    merged = clusters.merged(points, treatment, 2, 10)
    own = merged.assign(points)
    assert merged.groups == 3
    other = set(own[label == 3].tolist())
    assert other <= set(own[(label == 1) | (label == 2)].tolist())
    cells = torch.bincount(own * 2 + treatment, minlength=6)
    assert int(cells.min()) >= 10
    assert clusters.merged(points, treatment, 2, 10**6).groups == 1
    assert clusters.merged(points, treatment, 2, 0).groups == 4


def test_the_nearest_centre_is_taken_far_from_0_too() -> None:
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) + 1e4
    clusters = Clusters(points[:20], torch.arange(20))
    distance = (points[:, None].double() - clusters.centres.double()).square().sum(dim=2)
    assert clusters.assign(points).equal(distance.argmin(dim=1))


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="number of clusters must be >= 1"):
        Clusters.fit(torch.ones(3, 1), 0, seed=0)
    with pytest.raises(InvalidValueError, match="number of people must be >= 1, got 0"):
        Clusters.fit(torch.ones(0, 1), 1, seed=0)
    with pytest.raises(InvalidValueError, match="points must be finite"):
        Clusters.fit(torch.tensor([[1.0], [torch.nan]]), 1, seed=0)
    with pytest.raises(InvalidValueError, match="least rows of a cell must be >= 0"):
        Clusters.fit(torch.ones(3, 1), 1, seed=0).merged(
            torch.ones(3, 1), torch.zeros(3, dtype=torch.int64), 1, -1
        )
