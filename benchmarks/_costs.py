"""Operations and bytes of PPO's iteration, counted from shapes.

Bytes are those that an operation must read and write, each operand once, wherever it lies in the
hierarchy of caches; a sum of selected weight rows reads each row that it selects. What a loss needs
beside the network is counted by its bytes alone. Arithmetic is counted where it is a product or a
sum of rows; elementwise work is bounded by its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

FLOAT = 4
INDEX = 4
FIELDS = 5
"""Floats that a minibatch gathers beside observations."""
ADAM_BYTES = 28
"""Adam reads parameter, gradient and two moments and writes all but the gradient."""
CLIP_BYTES = 12
"""Clipping reads the gradient for its norm, then reads and writes it."""


@dataclass(frozen=True)
class Product:
    """A batch of matrix products (rows, inner) x (inner, columns)."""

    batch: int
    rows: int
    inner: int
    columns: int
    precision: str = "fp32"

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.rows * self.inner * self.columns

    @property
    def bytes(self) -> int:
        """Both factors and the product."""
        elements = self.rows * self.inner + self.inner * self.columns + self.rows * self.columns
        return self.batch * elements * size_of(self.precision)


@dataclass(frozen=True)
class Operation:
    """Work that is done `times` over in one iteration."""

    part: str
    flops: float
    bytes: float
    times: int
    product: Product | None = None
    """Set where the work is one."""


def size_of(precision: str) -> int:
    """Bytes of a number."""
    return {"fp32": 4, "bf16": 2}[precision]


@dataclass(frozen=True)
class Shapes:
    """Everything that an iteration's cost depends on."""

    members: int
    lanes: int
    """Of one member."""
    steps: int
    epochs: int
    minibatches: int
    inputs: int
    width: int
    depth: int
    outputs: tuple[int, ...]
    """Of each branch: as many as there are actions, and one value."""
    ones: float | None
    """Ones in an observation on average, if its ones are listed; None if it is multiplied out."""
    state_bytes: int
    """The environments' whole state."""
    activation: str = "relu"
    bias: bool = True
    precision: str = "fp32"
    isometry: bool = False
    """Whether the optimiser is AdamO."""

    @property
    def branches(self) -> int:
        """Networks of one member."""
        return len(self.outputs)

    @property
    def batch(self) -> int:
        """Samples of one member in a minibatch."""
        return self.lanes * self.steps // self.minibatches

    @property
    def updates(self) -> int:
        """Gradient steps of an iteration."""
        return self.epochs * self.minibatches

    @property
    def parameters(self) -> int:
        """Parameters of all members."""
        hidden = self.width * (self.inputs + (self.depth - 1) * self.width)
        biases = self.bias * self.depth * self.width
        heads = sum(outputs * (self.width + self.bias) for outputs in self.outputs)
        return self.members * (self.branches * (hidden + biases) + heads)

    @property
    def iteration(self) -> list[Operation]:
        """Everything, by part."""
        return [
            *self.environment(),
            *self.act(),
            *self.store(),
            *self.gather(),
            *self.forward("forward", self.batch, self.updates),
            *self.loss(),
            *self.backward(),
            *self.optimizer(),
        ]

    def environment(self) -> Iterator[Operation]:
        """Steps: the state read and written, a byte a feature of the observations written."""
        seen = self.members * self.lanes * self.inputs
        yield Operation("environment", 0, 2 * self.state_bytes + seen, self.steps)

    def act(self) -> Iterator[Operation]:
        """Listing or casting observations, then the forward pass."""
        rows = self.members * self.lanes
        written = FLOAT * self.inputs if self.ones is None else INDEX * self.ones
        yield Operation("act", 0, rows * (self.inputs + written), self.steps)
        yield from self.forward("act", self.lanes, self.steps)

    def store(self) -> Iterator[Operation]:
        """Copying observations, and the transition's other fields, into the rollout."""
        fields = 8 + 3 * FLOAT + 2  # an action, three floats, two flags
        row = 2 * (self.inputs + fields)
        yield Operation("store", 0, self.members * self.lanes * row, self.steps)

    def gather(self) -> Iterator[Operation]:
        """Reading a minibatch's rows in random order and writing them in a row."""
        observation = self.inputs if self.ones is None else INDEX * self.ones
        row = 2 * (observation + FLOAT * FIELDS) + 8
        yield Operation("gather", 0, self.members * self.batch * row, self.updates)

    def forward(self, part: str, rows: int, times: int) -> Iterator[Operation]:
        """All branches on rows (members, rows, inputs)."""
        members, stacked = self.members, self.members * self.branches
        yield from self._first(part, rows, times, stacked * rows * self.width)
        for _ in range(self.depth - 1):
            yield self._product(part, times, stacked, rows, self.width, self.width)
        passes = 2.5 if self.activation == "groupsort" else 2.0  # half a mask
        yield from self._activations(part, rows, times, passes)
        for outputs in self.outputs:
            yield self._product(part, times, members, rows, self.width, outputs)

    def loss(self) -> Iterator[Operation]:
        """Outputs and fields read, the outputs' gradients written."""
        row = FLOAT * (2 * sum(self.outputs) + FIELDS)
        yield Operation("forward", 0, self.members * self.batch * row, self.updates)

    def backward(self) -> Iterator[Operation]:
        """Gradients of all weights, and of all inputs but the first layers'."""
        part, rows, times = "backward", self.batch, self.updates
        members, stacked = self.members, self.members * self.branches
        for outputs in self.outputs:
            yield self._product(part, times, members, outputs, rows, self.width)
            yield self._product(part, times, members, rows, outputs, self.width)
        for _ in range(self.depth - 1):
            yield self._product(part, times, stacked, self.width, rows, self.width)
            yield self._product(part, times, stacked, rows, self.width, self.width)
        passes = 2.5 if self.activation == "groupsort" else 3.0  # what forward kept is read
        yield from self._activations(part, rows, times, passes + self.bias)
        written = stacked * self.inputs * self.width
        yield from self._first(part, rows, times, written)

    def optimizer(self) -> Iterator[Operation]:
        """Clipping, Adam, and AdamO's two products of every hidden weight."""
        yield Operation("optimizer", 0, self.parameters * (CLIP_BYTES + ADAM_BYTES), self.updates)
        if not self.isometry:
            return
        stacked = self.members * self.branches
        for inputs, count in ((self.inputs, 1), (self.width, self.depth - 1)):
            small, large = sorted((inputs, self.width))
            for rows, inner, columns in ((small, large, small), (small, small, large)):
                product = Product(stacked, rows, inner, columns)
                for _ in range(count):
                    yield _of("optimizer", product, self.updates)
            moved = 3 * FLOAT * stacked * count * inputs * self.width
            yield Operation("optimizer", 0, moved, self.updates)

    def _first(self, part: str, rows: int, times: int, written: float) -> Iterator[Operation]:
        if self.ones is None:
            forward = (self.members, rows, self.inputs, self.width)
            backward = (self.members, self.width, rows, self.inputs)
            for _ in self.outputs:
                yield self._product(part, times, *(backward if part == "backward" else forward))
            return
        ones = self.members * self.branches * rows * self.ones
        read = ones * (INDEX + FLOAT * self.width)
        yield Operation(part, ones * self.width, read + FLOAT * written, times)

    def _activations(self, part: str, rows: int, times: int, passes: float) -> Iterator[Operation]:
        layer = self.members * self.branches * rows * self.width * size_of(self.precision)
        for _ in range(self.depth):
            yield Operation(part, 0, passes * layer, times)

    def _product(self, part: str, times: int, *shape: int) -> Operation:
        return _of(part, Product(*shape, self.precision), times)


def _of(part: str, product: Product, times: int) -> Operation:
    return Operation(part, product.flops, product.bytes, times, product)


def total(operations: Iterable[Operation], what: str) -> float:
    """Sum of `flops` or `bytes` over all times."""
    return sum(getattr(operation, what) * operation.times for operation in operations)
