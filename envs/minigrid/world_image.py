"""Pictures of MiniGrid worlds, drawn by the reference package on the host."""

import numpy as np
from numpy.typing import NDArray

_TILE, _WIDEST = 32, 512


def draw(
    images: NDArray[np.uint8],
    places: NDArray[np.int64],
    directions: NDArray[np.int64],
    highlighted: NDArray[np.bool_],
) -> list[NDArray[np.uint8]]:
    """Draws grids with the agent in them.

    Args:
        images: (K, width, height, 3), each cell as the reference encodes it.
        places: (K, 2), column and row of the agents.
        directions: (K,), 0 to 3 for right, down, left and up.
        highlighted: (K, width, height), True for cells that the agent sees.

    Returns:
        K pictures (tile * height, tile * width, 3) uint8, with 32 pixels a tile, or fewer where the
        picture would be wider or higher than 512.
    """
    from minigrid.core.grid import Grid

    tile = min(_TILE, _WIDEST // max(images.shape[1:3]))
    pictures = []
    for image, place, direction, mask in zip(images, places, directions, highlighted, strict=True):
        grid, _ = Grid.decode(image)
        pictures.append(grid.render(tile, tuple(place), int(direction), highlight_mask=mask))
    return pictures
