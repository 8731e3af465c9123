"""Pictures of MiniGrid worlds, drawn by the reference package on the host."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neoteny.envs.minigrid import cells

if TYPE_CHECKING:
    from neoteny.envs.minigrid.base import MiniGrid

_TILE = 16


def draw(env: "MiniGrid") -> tuple[NDArray[np.uint8], ...]:
    """Draws every lane, what the agent sees highlighted.

    Returns:
        Per lane (16 * height, 16 * width, 3) uint8.
    """
    from minigrid.core.grid import Grid

    state = env.state
    shape = (env.num_envs, env.height, env.width)
    boards = env._grid(state)[:, : env.area].cpu().numpy().reshape(shape)
    images = cells.encodings()[boards.swapaxes(1, 2)]
    seen = env._seen(state).flatten(1).ne(cells.UNSEEN)
    places = env._view.index_select(0, state["pose"]).view(env.num_envs, 7, -1)[..., :7].flatten(1)
    lit = np.zeros((env.num_envs, env.area + 3), bool)
    np.put_along_axis(lit, places.cpu().numpy(), seen.cpu().numpy(), axis=1)
    pictures = []
    for pose, image, mask in zip(state["pose"].tolist(), images, lit, strict=True):
        direction, cell = divmod(pose, env.area)
        place = (cell % env.width, cell // env.width)
        highlight = mask[: env.area].reshape(env.height, env.width).T.copy()
        highlight[place] = True
        grid, _ = Grid.decode(image)
        pictures.append(grid.render(_TILE, place, direction, highlight_mask=highlight))
    return tuple(pictures)
