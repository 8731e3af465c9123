"""A supervised stream of random images, for tests of agents that classify."""

import torch
from gymnasium.spaces import Box


class Images:
    """Random 6 x 6 images in three classes, for two members; the same in every stream."""

    classes = 3
    single_observation_space = Box(0, 1, (6, 6))

    def __init__(self, device="cpu"):
        self.device = torch.device(device)
        self.drawn = 0

    def draw(self, count, batch):
        generator = torch.Generator().manual_seed(self.drawn)
        self.drawn += count
        obs = torch.rand(count, 2, batch, 6, 6, generator=generator)
        label = torch.randint(3, (count, 2, batch), generator=generator)
        return Samples(self, obs.to(self.device), label.to(self.device))

    def score(self, correct, samples):
        assert correct.shape == (2,)


class Samples:
    def __init__(self, stream, obs, label):
        self.stream, self.obs, self.label = stream, obs, label

    def __len__(self):
        return len(self.obs)

    def __getitem__(self, index):
        return self.obs[index], self.label[index]
