"""Decisions that are not marketing: the best k of many, the best path over a grid."""

import torch
from torch import Tensor


class TopK:
    """Chooses the k largest values. Picklable, unlike a closure."""

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, values: Tensor) -> Tensor:  # (batch, D) -> (batch, D)
        best = values.topk(self.k, dim=-1).indices
        return torch.zeros_like(values).scatter(-1, best, 1)


class GridPath:
    """Walks from the top left to the bottom right cell of a grid, right or down, for most value.

    Dynamic programming over antidiagonals would be faster; over cells it is shorter, and every
    step is one operation for the whole batch.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, values: Tensor) -> Tensor:  # (batch, side * side) -> the same
        side = self.side
        total = values.reshape(-1, side, side).clone()
        from_above = torch.zeros_like(total, dtype=torch.bool)
        for row in range(side):
            for column in range(side):
                above = total[:, row - 1, column] if row else None
                left = total[:, row, column - 1] if column else None
                if above is None or left is None:
                    best = above if left is None else left
                    from_above[:, row, column] = left is None
                else:
                    best = torch.maximum(above, left)
                    from_above[:, row, column] = above >= left
                if best is not None:
                    total[:, row, column] += best
        return self._walk_back(from_above).to(values).reshape(values.shape)

    def _walk_back(self, from_above: Tensor) -> Tensor:
        everyone = torch.arange(from_above.shape[0], device=from_above.device)
        row = torch.full_like(everyone, self.side - 1)
        column, path = row.clone(), torch.zeros_like(from_above)
        path[everyone, row, column] = True
        for _ in range(2 * (self.side - 1)):
            up = from_above[everyone, row, column]
            row, column = row - up.long(), column - (~up).long()
            path[everyone, row, column] = True
        return path


def all_paths(side: int) -> Tensor:
    """Every path of the grid, for a brute-force truth. Shape ``(paths, side * side)``."""
    paths = []
    for steps in torch.cartesian_prod(*[torch.tensor([0, 1])] * (2 * side - 2)):
        if int(steps.sum()) == side - 1:
            path, row, column = torch.zeros(side, side), 0, 0
            path[0, 0] = 1
            for down in steps.tolist():
                row, column = row + down, column + 1 - down
                path[row, column] = 1
            paths.append(path.flatten())
    return torch.stack(paths).double()
