"""Pictures of MiniGrid worlds, drawn by the reference package on the host."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from neoteny.envs.minigrid import cells

if TYPE_CHECKING:
    from neoteny.envs.minigrid.base import MiniGrid

_TILE, _WIDEST = 32, 512


def draw(env: "MiniGrid", lanes: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Draws lanes, what the agent sees highlighted.

    Returns:
        Per lane (tile * height, tile * width, 3) uint8, with 32 pixels a tile, or fewer where the
        picture would be wider or higher than 512.
    """
    from minigrid.core.grid import Grid

    state = {
        name: value[torch.from_numpy(lanes).to(env.device)] for name, value in env.state.items()
    }
    shape = (len(lanes), env.height, env.width)
    boards = env._grid(state)[:, : env.area].cpu().numpy().reshape(shape)
    images = cells.encodings()[boards.swapaxes(1, 2)]
    seen = env._seen(state).flatten(1).ne(cells.UNSEEN)
    places = env._view.index_select(0, state["pose"]).view(len(lanes), 7, -1)[..., :7].flatten(1)
    lit = np.zeros((len(lanes), env.area + 3), bool)
    np.put_along_axis(lit, places.cpu().numpy(), seen.cpu().numpy(), axis=1)
    tile = min(_TILE, _WIDEST // max(env.width, env.height))
    pictures = []
    for pose, image, mask in zip(state["pose"].tolist(), images, lit, strict=True):
        direction, cell = divmod(pose, env.area)
        place = (cell % env.width, cell // env.width)
        highlight = mask[: env.area].reshape(env.height, env.width).T.copy()
        highlight[place] = True
        grid, _ = Grid.decode(image)
        pictures.append(grid.render(tile, place, direction, highlight_mask=highlight))
    return pictures
